// A browser that looks at the status page (kit `browser`, Debian's Chromium), told by one JSON line each what to do.
//
// Run as `node browser.mjs FOLDER` in the kit's folder; FOLDER is empty and becomes the browser's home. Lines:
// {do: open, url, width, dark}, {do: read}, {do: submit, token}, {do: shot, path}, {do: close}. Each is answered with
// one JSON line: what is on the page, as a person would read it, and what went wrong so far: `problems` are lines of
// the console and errors of scripts, `foreign` addresses of other hosts, `loads` how often the page itself was loaded.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { chromium } = createRequire(`${process.cwd()}/`)('playwright-core');
const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'];
const context = await chromium.launchPersistentContext(process.argv[2], {
  executablePath: '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', ...QUIET],
});
const page = context.pages()[0];
const seen = { problems: [], foreign: [], loads: 0 };
let host = '';
page.on('console', (line) => {
  if (['error', 'warning'].includes(line.type())) seen.problems.push(line.text());
});
page.on('pageerror', (error) => seen.problems.push(error.message));
page.on('dialog', (dialog) => {
  seen.problems.push(`dialog: ${dialog.message()}`);
  dialog.dismiss();
});
page.on('load', () => { seen.loads += 1; });
context.on('request', (request) => {
  if (new URL(request.url()).protocol !== 'data:' && new URL(request.url()).host !== host) seen.foreign.push(request.url());
});

function look() {
  const shown = (element) => (element && element.checkVisibility() ? element.textContent : '');
  const rows = (id) => [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => [...row.cells].map((cell) => cell.textContent));
  const facts = [...document.querySelectorAll('#facts div')].map((fact) => [...fact.children].map((part) => part.textContent));
  return {
    title: document.title,
    state: shown(document.getElementById('state')),
    notice: shown(document.getElementById('notice')),
    asks: shown(document.getElementById('token-why')),
    focus: document.activeElement.id,
    facts: Object.fromEntries(facts.map(([name, ...values]) => [name, values])),
    servers: rows('servers'),
    streams: rows('streams'),
    recent: rows('recent'),
    limits: rows('limits'),
    markup: document.querySelectorAll('main img, main b, main script, main a').length,
    overflows: document.documentElement.scrollWidth > window.innerWidth,
  };
}

const actions = {
  async open({ url, width = 1280, dark = false }) {
    ({ host } = new URL(url));
    Object.assign(seen, { problems: [], foreign: [], loads: 0 });
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
    await page.goto(url, { waitUntil: 'load' });
  },
  async read() {},
  async submit({ token }) {
    await page.getByLabel('Admin token').fill(token);
    await page.getByRole('button').click();
  },
  async shot({ path }) {
    await page.screenshot({ path, fullPage: true });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  if (told.do === 'close') break;
  await actions[told.do](told);
  process.stdout.write(`${JSON.stringify({ ...(await page.evaluate(look)), ...seen })}\n`);
}
await context.close();
