// Signing in and out, with a server that answers what a test says.
import assert from 'node:assert/strict';
import test from 'node:test';
import { load } from './load.mjs';

const asked = [];
let loads = 0;
let answer;
Object.assign(globalThis, {
  location: { origin: 'http://localhost', reload: () => { loads += 1; } },
  fetch: (path, { method }) => {
    asked.push(`${method} ${path}`);
    return answer();
  },
});
const { signIn, signOut } = await load('session/session.ts');
const status = (code) => () => Promise.resolve(new Response(null, { status: code }));

test('another key begins with the page loaded again', async () => {
  answer = status(204);
  await signIn('spw_key');
  assert.equal(loads, 1);
  await signOut();
  assert.equal(loads, 2);
  assert.deepEqual(asked, ['POST /api/session', 'DELETE /api/session']);
  answer = status(429);
  await assert.rejects(signIn('spw_key'));
  for (answer of [status(503), () => Promise.reject(new TypeError('away'))]) await signOut();
  assert.equal(loads, 2, 'the key is the one before');
});
