// What pages of other origins can do to a Spillway without keys: a page of another port, one of another site, one without an origin
// (a sandbox), and one whose name was made to resolve to this machine (DNS rebinding).
//
// Every operation of the API is tried at every listener, in each way that a page has. Nothing may be stored, changed or read. The
// console's own origin tries the same afterwards, and must succeed: this shows that the attempts are valid requests.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { REBOUND } from '../browser.mjs';
import { attempt, knock } from '../foreign-page.mjs';
import { Spillway, until } from '../spillway.mjs';

const DOCUMENT = new URL('../../../openapi/spillway.json', import.meta.url);
const SECRET = 'canary-7f3a';
const PLANTED = 'planted = by another origin';

/** Operations that the document does not list, because they are for browsers and agents. */
const UNLISTED = [
  ['GET', '/'], ['GET', '/openapi.json'], ['GET', '/swagger-ui'], ['GET', '/console/'], ['GET', '/services/collector/health'],
  ['GET', '/api/session'], ['POST', '/api/session'], ['DELETE', '/api/session'], ['GET', '/_license'], ['GET', '/_cluster/health'],
  ['PUT', '/_index_template/logs'], ['POST', '/logs/_refresh'],
];
/** Probes answer to any page, under any host name: docs/access-control.md. */
const UNDER_ANY_NAME = ['/actuator/health/liveness', '/actuator/health/readiness', '/services/collector/health'];

const event = { source: 'planted', level: 'INFO', message: PLANTED };
const record = { timeUnixNano: '0', body: { stringValue: PLANTED } };
const push = JSON.stringify({ streams: [{ stream: { app: 'planted' }, values: [[`${Date.now()}000000`, PLANTED]] }] });
const bulk = `{"create":{"_index":"planted"}}\n${JSON.stringify({ message: PLANTED })}\n`;
/** Bodies that would be accepted, by path. */
const BODIES = {
  '/api/logs': JSON.stringify(event),
  '/api/logs/batch': JSON.stringify([event]),
  '/api/logs/ingest': JSON.stringify(event),
  '/v1/logs': JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords: [record] }] }] }),
  '/loki/api/v1/push': push,
  '/api/prom/push': push,
  '/_bulk': bulk,
  '/logs/_bulk': bulk,
  '/services/collector': JSON.stringify({ event: PLANTED }),
  '/services/collector/event': JSON.stringify({ event: PLANTED }),
  '/services/collector/event/1.0': JSON.stringify({ event: PLANTED }),
  '/services/collector/raw': PLANTED,
  '/services/collector/raw/1.0': PLANTED,
  '/services/collector/ack': '{"acks":[0]}',
  '/actuator/log': '{"filter":"debug"}',
  '/api/dlq/redrive': '{}',
};
/** Paths that store an event from the console's own origin. */
const STORING = Object.keys(BODIES).filter((name) => BODIES[name].includes(PLANTED));
const QUERIES = { '/api/logs/values': '?field=source', '/api/logs/export': '?from=-1h' };

async function operations(eventId) {
  const { paths } = JSON.parse(await readFile(DOCUMENT, 'utf8'));
  const listed = Object.entries(paths).flatMap(([name, methods]) => Object.keys(methods).map((method) => [method.toUpperCase(), name]));
  const filled = (name) => name.replace('{eventId}', eventId).replace('{name}', 'spillway.events.stored').replace('{index}', 'logs');
  const all = [...listed, ...UNLISTED].map(([method, name]) => ({ method, path: filled(name) }));
  const reads = all.filter(({ method }) => method === 'GET').map(({ path: name }) => name + (QUERIES[name] ?? ''));
  const writes = all.filter(({ method }) => method !== 'GET').map(({ method, path: name }) => ({ method, path: name, body: BODIES[name] ?? '{}', type: name.endsWith('_bulk') ? 'application/x-ndjson' : 'application/json' }));
  return { reads, writes };
}

/** A server of pages. Below `/sandboxed` they have no origin. */
async function foreignServer() {
  const server = http.createServer((request, response) => {
    const sandbox = request.url === '/sandboxed' ? { 'Content-Security-Policy': 'sandbox allow-scripts allow-forms' } : {};
    response.writeHead(200, { 'Content-Type': 'text/html', ...sandbox }).end('<!doctype html><title>another page</title>');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Sums of the metrics of a Spillway, by name and, if it has one, outcome. */
async function metrics(spillway) {
  const text = await (await fetch(`${spillway.url}/actuator/prometheus`)).text();
  const sum = (pattern) => [...text.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0);
  return {
    accepted: sum(/^spillway_events_accepted_total\{[^}]*\} (\S+)$/gm),
    crossOrigin: sum(/^spillway_auth_total\{outcome="cross_origin"\} (\S+)$/gm),
    hostNotAllowed: sum(/^spillway_auth_total\{outcome="host_not_allowed"\} (\S+)$/gm),
  };
}

const filterOf = async (spillway) => (await (await fetch(`${spillway.url}/actuator/log`)).json()).filter;

/** A page of each other origin tries everything at each listener. */
async function fromOtherOrigins(browser, targets, tried, foreign) {
  const { port } = foreign.address();
  const pages = [`http://127.0.0.1:${port}/`, `http://${REBOUND}:${port}/`, `http://${REBOUND}:${port}/sandboxed`];
  const sum = { reads: 0, writes: 0, simple: 0, fetches: 0 };
  for (const origin of pages) {
    const page = await browser.page();
    await page.goto(origin);
    for (const [name, target] of Object.entries(targets)) {
      const { seen, reads, writes, simple } = await page.evaluate(attempt, { target, ...tried });
      assert.deepEqual(seen, [], `what ${origin} sees of ${name}`);
      sum.reads += reads;
      sum.writes += writes;
      sum.simple += simple;
      // Four of each read are requests in any browser; what an element or a preflight asks for comes on top.
      sum.fetches += 4 * tried.reads.filter((path) => !UNDER_ANY_NAME.includes(path)).length;
    }
    await page.context().close();
  }
  return sum;
}

/** A page under another name of this machine is of the same origin as what it asks for. */
async function fromReboundName(browser, targets, tried) {
  const sum = { reads: 0, writes: 0 };
  for (const [name, target] of Object.entries(targets)) {
    const rebound = target.replace('127.0.0.1', REBOUND);
    const page = await browser.page();
    // Refused, and still a document of that origin.
    assert.equal((await page.goto(`${rebound}/api/logs`)).status(), 403, name);
    const { seen, reads, writes } = await page.evaluate(attempt, { target: rebound, ...tried });
    const others = seen.filter(({ path: of, status }) => status !== 403 && !UNDER_ANY_NAME.includes(of));
    assert.deepEqual(others, [], `what ${rebound} sees of ${name}`);
    assert.ok(!JSON.stringify(seen).includes(SECRET), name);
    sum.reads += reads;
    sum.writes += writes;
    await page.context().close();
  }
  return sum;
}

/** A page of another site sends requests to ports of other protocols. */
async function toOtherProtocols(browser, addresses, foreign) {
  const page = await browser.page();
  await page.goto(`http://${REBOUND}:${foreign.address().port}/`);
  let requests = 0;
  for (const address of addresses) requests += await page.evaluate(knock, { address, body: `<14>planted: ${PLANTED}\n` });
  await page.context().close();
  return requests;
}

/** Which paths take an event of the console's own origin, and what that reads. */
async function fromOwnOrigin(browser, url, { writes }) {
  const page = await browser.page();
  await page.goto(`${url}/openapi.json`);
  const taken = await page.evaluate(async (all) => {
    const statuses = [];
    for (const { method, path: of, body, type } of all) statuses.push([of, (await fetch(of, { method, body, headers: { 'Content-Type': type } })).status]);
    return statuses;
  }, writes.filter(({ method }) => method === 'POST'));
  const read = await page.evaluate(async () => (await fetch('/api/logs?from=-1h')).text());
  browser.takeProblems();
  return { read, stored: STORING.filter((name) => taken.some(([of, status]) => of === name && status < 300)) };
}

async function otherOrigin({ browser, spillway, work }) {
  const [otlp, grpc, syslog] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const own = new Spillway(spillway.program, path.join(work, 'open'), { SPILLWAY_OTLP__LISTEN: otlp, SPILLWAY_OTLP__GRPC_LISTEN: grpc, SPILLWAY_SYSLOG__LISTEN: syslog });
  const foreign = await foreignServer();
  await own.start();
  try {
    await own.send([{ source: 'own', level: 'ERROR', message: SECRET }]);
    await own.stored('from=-1h&source=own', 1);
    const { events } = await (await fetch(`${own.url}/api/logs?from=-1h`)).json();
    const tried = await operations(events[0].eventId);
    // Those that speak HTTP.
    const { gateway, producer, consumer } = own.listeners;
    const targets = { gateway, producer, consumer, otlp: `http://${otlp}` };
    const [before, filter] = [await metrics(own), await filterOf(own)];

    const other = await fromOtherOrigins(browser, targets, tried, foreign);
    const rebound = await fromReboundName(browser, targets, tried);
    const requests = await toOtherProtocols(browser, [grpc, syslog], foreign);
    // A page does not learn when a beacon has arrived.
    const after = await until('every request has been refused', async () => {
      const now = await metrics(own);
      return now.crossOrigin - before.crossOrigin >= other.simple + other.fetches && now;
    });
    assert.equal(after.accepted, before.accepted, 'events were accepted');
    assert.equal(await filterOf(own), filter, 'the log filter was changed');
    browser.takeProblems();

    const { stored, read } = await fromOwnOrigin(browser, own.url, tried);
    assert.deepEqual(stored, STORING, 'paths that store what the console sends');
    assert.ok(read.includes(SECRET), 'the console reads');
    const accepted = (await metrics(own)).accepted - after.accepted;
    return `other origins: ${other.writes} writes and ${other.reads} reads, 0 stored, 0 read, ${after.crossOrigin - before.crossOrigin} refused as cross_origin; rebound name: ${rebound.writes} writes and ${rebound.reads} reads, 0 stored, 0 read but probes, ${after.hostNotAllowed - before.hostNotAllowed} refused as host_not_allowed; ports of gRPC and syslog: ${requests} requests, 0 stored; the own origin stored ${accepted}`;
  } finally {
    foreign.closeAllConnections();
    foreign.close();
    await own.stop();
  }
}

// The development server serves the console for one Spillway only.
export const origins = [{ name: 'other-origin', needs: 'served', run: otherOrigin }];
