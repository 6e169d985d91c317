// The worker of a tail, with a server that says what a test lets it say.
import assert from 'node:assert/strict';
import test, { afterEach } from 'node:test';
import { load } from './load.mjs';

const said = [];
const streams = [];
let hear;
let report;
Object.assign(globalThis, {
  postMessage: (message) => said.push(message),
  addEventListener: (_type, listener) => { hear = (data) => listener({ data }); },
  // Reports are made when a test asks for one.
  setInterval: (work) => { report = work; },
  fetch: (url, { headers, signal }) => {
    const stream = { url, resumedAt: headers['Last-Event-ID'] };
    streams.push(stream);
    const body = new ReadableStream({
      start: (controller) => {
        stream.say = (text) => controller.enqueue(new TextEncoder().encode(text));
        signal.addEventListener('abort', () => controller.error(signal.reason));
      },
    });
    return Promise.resolve(new Response(body));
  },
});
await load('tail/worker.ts');

const event = (id) => `id: ${id}\ndata: {"eventId":"${id}"}\n\n`;

/** Events that the worker hands over until it has received so many, and how many it holds then. */
async function received(count) {
  const events = [];
  for (let turn = 0, seen = 0; seen < count; turn += 1) {
    assert.ok(turn < 10_000, `${seen} of ${count} events were received`);
    await new Promise(setImmediate);
    report();
    for (const message of said.splice(0)) {
      if (message.kind !== 'progress') continue;
      seen += message.received;
      events.push(...message.events.map((one) => one.eventId));
    }
  }
  return events;
}

// A connection that is not ended keeps the process of the tests.
afterEach(() => hear({ kind: 'end' }));

test('events that are held stay when the connection begins again', async () => {
  hear({ kind: 'follow', url: '/first' });
  streams[0].say(event(1));
  assert.deepEqual(await received(1), ['1']);
  hear({ kind: 'hold' });
  streams[0].say(event(2));
  assert.deepEqual(await received(1), []);
  // A hidden tab ends its connection, and continues when it is seen.
  hear({ kind: 'end' });
  hear({ kind: 'resume' });
  assert.deepEqual([streams[1].url, streams[1].resumedAt], ['/first', '2']);
  streams[1].say(event(3));
  assert.deepEqual(await received(1), []);
  hear({ kind: 'release' });
  assert.deepEqual(said.flatMap((message) => message.events ?? []).map((one) => one.eventId), ['2', '3']);
  said.length = 0;

  hear({ kind: 'hold' });
  streams[1].say(event(4));
  assert.deepEqual(await received(1), []);
  hear({ kind: 'follow', url: '/second' });
  assert.deepEqual([streams[2].url, streams[2].resumedAt], ['/second', undefined]);
  hear({ kind: 'release' });
  assert.deepEqual(said.flatMap((message) => message.events ?? []), [], 'those of another search are gone');
});
