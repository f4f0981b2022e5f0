// An authorization server (kit `oauth`): `node authorization.mjs PORT` in the kit's folder, where the package is found.
//
// It gives signed tokens to anybody: for the resource that is asked for, with the scopes that are asked for, for the
// client that asks (`sub`), and with the claim `servers` that stands below. `GET /grants` lists what it gave.
import { createRequire } from 'node:module';
import process from 'node:process';

const { Events, OAuth2Server } = createRequire(`${process.cwd()}/`)('oauth2-mock-server');

const SERVERS = { robot: ['ward', 'steps'], stranger: ['elsewhere'] };
const port = Number(process.argv[2]);
const grants = [];
const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
server.issuer.url = `http://127.0.0.1:${port}`;
server.service.addRoute('GET', '/grants', (_request, response) => {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(grants));
});
server.service.on(Events.BeforeWellKnownOpenIdConfiguration, ({ body }) => {
  body.token_endpoint_auth_methods_supported = ['client_secret_basic'];
});
server.service.on(Events.BeforeTokenSigning, ({ payload }, { headers, body }) => {
  const basic = Buffer.from((headers.authorization ?? '').split(' ')[1] ?? '', 'base64').toString();
  const client = basic.split(':')[0] || body.client_id;
  Object.assign(payload, { sub: client, client_id: client, aud: body.resource, servers: SERVERS[client] ?? [] });
  grants.push({ client, resource: body.resource, scope: body.scope });
});
await server.start(port, '127.0.0.1');
