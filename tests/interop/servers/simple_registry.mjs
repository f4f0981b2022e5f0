// A registry of the simple kind (kit `sdk`): `node simple_registry.mjs PORT` in the kit's folder.
//
// Express with CORS; everything in memory. Whoever posts to /register is appended, with the milliseconds as its id, and
// is listed at /mcps for ever. Nobody is asked who they are.
import { createRequire } from 'node:module';
import process from 'node:process';

const require = createRequire(`${process.cwd()}/`);
const express = require('express');
const cors = require('cors');

const registered = [];
const app = express();
app.use(cors(), express.json());
app.post('/register', (request, response) => {
  const { name, version, basePath, host, port } = request.body;
  const entry = { id: String(Date.now()), name, version, basePath, endpoint: `${host}:${port}` };
  registered.push({ ...entry, registeredAt: new Date().toISOString() });
  response.status(201).json(registered.at(-1));
});
app.get('/mcps', (_request, response) => response.json(registered));
app.listen(Number(process.argv[2]), '127.0.0.1');
