// The client that the official conformance suite starts for its OAuth scenarios, on the TypeScript client 2.4.
//
// `node conformance_oauth.mjs [CONFIG PID GATEWAY] URL` in the kit `sdk`, where the package is found. URL is the suite's
// server. With the three others the client goes through a gateway: it adds that server to the configuration file, lets
// the process read it again, and uses the public URL. A browser is played by following the redirect.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';

const { Client, StreamableHTTPClientTransport, UnauthorizedError } = createRequire(`${process.cwd()}/`)(
  '@modelcontextprotocol/client',
);

const POLL_MS = 20;
// The suite wants a client to give up at the fourth.
const ROUNDS = 2;

async function published(url, config, pid, gateway) {
  const { origin, port, pathname } = new URL(url);
  const settings = JSON.parse(readFileSync(config, 'utf8'));
  const name = `suite-${port}`;
  settings.servers.push({ name, auth: 'upstream', upstreams: [{ url: origin }] });
  writeFileSync(config, JSON.stringify(settings));
  process.kill(Number(pid), 'SIGHUP');
  const home = `${gateway}/mcp/${name}`;
  while ((await fetch(`${home}/`)).headers.get('mcpgate-error') === 'no_route') await sleep(POLL_MS);
  return home + pathname;
}

class Provider {
  redirectUrl = 'http://localhost:3000/callback';
  clientMetadataUrl = 'https://conformance-test.local/client-metadata.json';
  clientMetadata = {
    client_name: 'interop',
    redirect_uris: [this.redirectUrl],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  };

  async redirectToAuthorization(url) {
    const { headers } = await fetch(url, { redirect: 'manual' });
    this.callback = new URL(headers.get('location')).searchParams;
  }

  clientInformation = () => this.registered;
  saveClientInformation = (registered) => { this.registered = registered; };
  tokens = () => this.given;
  saveTokens = (given) => { this.given = given; };
  codeVerifier = () => this.verifier;
  saveCodeVerifier = (verifier) => { this.verifier = verifier; };
}

const given = process.argv.slice(2);
const suite = given.pop();
const url = given.length ? await published(suite, ...given) : suite;
const provider = new Provider();
const mode = { pin: process.env.MCP_CONFORMANCE_PROTOCOL_VERSION };
const options = mode.pin >= '2026' ? { versionNegotiation: { mode } } : {};
let client;
let transport;

async function connect() {
  client = new Client({ name: 'interop', version: '1.0.0' }, options);
  transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  await client.connect(transport);
}

// Do something; whenever the user must be asked first, ask and do it again.
async function authorized(act) {
  for (let round = 0; ; round += 1) {
    try {
      return await act();
    } catch (error) {
      const isAsking = [error, error.cause].some((cause) => cause instanceof UnauthorizedError);
      if (!isAsking || round === ROUNDS) throw error;
      await transport.finishAuth(provider.callback);
    }
  }
}

await authorized(connect);
const { tools } = await authorized(() => client.listTools());
for (const { name } of tools) await authorized(() => client.callTool({ name, arguments: {} }));
await client.close();
process.exit(0);
