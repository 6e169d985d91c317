// Runs the cases in a browser against a Spillway of its own, and some against roles as processes of their own, on servers of their own. scripts/console-check builds what is needed and calls it:
//   node check.mjs --bin PROGRAM --work DIRECTORY [--smoke] [--proxy] [--events NUMBER] [--screenshots DIRECTORY] [CASE…]
// Each case prints `ok NAME: figures` or `BROKEN NAME: why`. The exit status is 1 if one is broken.
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Browser } from './browser.mjs';
import { budgets } from './cases/budgets.mjs';
import { forms } from './cases/forms.mjs';
import { origins } from './cases/origins.mjs';
import { pages } from './cases/pages.mjs';
import { processes } from './cases/processes.mjs';
import { tail } from './cases/tail.mjs';
import { tasks } from './cases/tasks.mjs';
import { devServer } from './dev-server.mjs';
import { Roles } from './roles.mjs';
import { shop } from './shop.mjs';
import { Spillway } from './spillway.mjs';

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    bin: { type: 'string' },
    work: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    proxy: { type: 'boolean', default: false },
    events: { type: 'string' },
    'tail-seconds': { type: 'string', default: '60' },
    screenshots: { type: 'string' },
  },
});
if (!options.bin || !options.work) {
  console.error('usage: check.mjs --bin PROGRAM --work DIRECTORY [--smoke] [--proxy] [--events NUMBER] [--screenshots DIRECTORY] [CASE…]');
  process.exit(64);
}

const EVENTS = Number(options.events ?? (options.smoke ? 5_000 : 1_000_000));
const SPAN_MS = 55 * 60_000;

const work = path.resolve(options.work);
const program = path.resolve(options.bin);
const roles = new Roles(program, path.join(work, 'roles'), { proxied: options.proxy });
// Of a run that was broken off.
await roles.services('down');
await rm(work, { recursive: true, force: true });
await mkdir(work, { recursive: true });
const spillway = new Spillway(program, path.join(work, 'spillway'));
let proxy;
let browser;
let broken = 0;

async function run(test, environment) {
  const began = performance.now();
  try {
    const figures = await test.run(environment);
    const problems = browser.takeProblems();
    if (problems.length > 0) throw new Error(`the page reports: ${problems.slice(0, 5).join('; ')}`);
    console.log(`ok ${test.name}: ${figures ?? `${Math.round(performance.now() - began)} ms`}`);
  } catch (error) {
    broken += 1;
    browser.takeProblems();
    console.log(`BROKEN ${test.name}: ${String(error.message).split('\n').slice(0, 6).join(' ')}`);
  } finally {
    await browser.closePages();
  }
}

try {
  await spillway.start();
  let base = spillway.url;
  if (options.proxy) {
    proxy = await devServer(0, () => spillway.url);
    base = `http://127.0.0.1:${proxy.address().port}`;
  }
  const end = Date.now();
  const began = performance.now();
  for (const batch of shop(EVENTS, end - SPAN_MS, end)) await spillway.send(batch);
  await spillway.stored('from=-2h', EVENTS);
  console.log(`${EVENTS} events sent and stored in ${((performance.now() - began) / 1000).toFixed(1)} s`);

  browser = new Browser(base);
  await browser.open();
  const environment = { browser, spillway, roles, work, served: !options.proxy, events: EVENTS, tailSeconds: Number(options['tail-seconds']), screenshots: options.screenshots && path.resolve(options.screenshots) };
  if (environment.screenshots) await mkdir(environment.screenshots, { recursive: true });
  const all = [...tasks, ...forms, ...tail, ...origins, ...pages, ...processes, ...budgets];
  const chosen = wanted.length > 0 ? all.filter(({ name }) => wanted.includes(name)) : all.filter(({ smoke, needs }) => (options.smoke ? smoke : !needs || environment[needs]));
  if (wanted.length > chosen.length) throw new Error(`unknown case; there are: ${all.map(({ name }) => name).join(', ')}`);
  for (const test of chosen) await run(test, environment);
  console.log(`${chosen.length} cases, ${broken} broken`);
} catch (error) {
  broken += 1;
  console.error(error);
} finally {
  await browser?.close();
  proxy?.closeAllConnections();
  proxy?.close();
  await spillway.stop().catch(() => {});
  await roles.stop();
}
process.exitCode = broken > 0 ? 1 : 0;
