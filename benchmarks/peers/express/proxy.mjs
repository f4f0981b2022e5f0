// The obvious gateway of the Node world: Express, and http-proxy-middleware for each server.
// node proxy.mjs PORT PATH UPSTREAM_PORT
import http from 'node:http';

import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';

const HOUR_MS = 3_600_000;
const [port, path, upstreamPort] = process.argv.slice(2);

const app = express();
app.use(
    path,
    createProxyMiddleware({
        target: `http://127.0.0.1:${upstreamPort}`,
        xfwd: true,
        // Its own agent has 256 sockets: with as many open streams no further request would pass.
        agent: new http.Agent({ keepAlive: true }),
        timeout: HOUR_MS,
        proxyTimeout: HOUR_MS,
    }),
);

const server = app.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
server.keepAliveTimeout = HOUR_MS;
server.requestTimeout = HOUR_MS;
