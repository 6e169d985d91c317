// Which dead letters are sent again.
import assert from 'node:assert/strict';
import test from 'node:test';
import { load } from './load.mjs';

const { meant } = await load('dead-letters/letters.ts');

test('dead letters that fail again are not sent again without end', () => {
  const now = new Date('2026-11-30T12:00:00Z');
  assert.deepEqual(meant({ kind: 'all', topic: '' }, now), { to: '2026-11-30T12:00:00.000Z' });
  assert.deepEqual(meant({ kind: 'all', topic: 'logs' }, now), { topic: 'logs', to: '2026-11-30T12:00:00.000Z' });
  assert.deepEqual(meant({ kind: 'one', letter: { id: 7 } }, now), { id: 7 });
  assert.deepEqual(meant({ kind: 'one', letter: { id: 7, redrivenAt: '2026-11-30T11:00:00Z' } }, now), { id: 7, force: true });
});
