// What a dead letter has in it, and whether it came back.
import assert from 'node:assert/strict';
import test from 'node:test';
import { load } from './load.mjs';

const { eventOf, refusedAgain } = await load('dead-letters/letters.ts');
const letter = (id, value, more = {}) => ({ id, key: 'k', value, encoding: 'text', ...more });

test('an event is read from a value as far as it is one', () => {
  assert.deepEqual(eventOf(letter(1, '{"eventId":"e","source":"billing","message":"m","level":7}')), { eventId: 'e', source: 'billing', message: 'm' });
  assert.deepEqual(eventOf(letter(1, ' {"source":{"a":1}}')), { eventId: undefined, source: undefined, message: undefined });
  assert.equal(eventOf(letter(1, '{"eventId":')), undefined);
  assert.equal(eventOf(letter(1, '[1]')), undefined);
  assert.equal(eventOf(letter(1, 'e30=', { encoding: 'base64' })), undefined);
});

test('a letter is refused again if a later one has its key and value', () => {
  const sent = letter(7, 'x');
  assert.equal(refusedAgain(sent, [letter(6, 'x'), letter(7, 'x'), letter(8, 'y'), letter(9, 'x', { key: 'other' })]), undefined);
  assert.equal(refusedAgain(sent, [letter(8, 'y'), letter(10, 'x')])?.id, 10);
  assert.equal(refusedAgain(sent, [letter(9, 'x'), letter(10, 'x'), letter(11, 'y')])?.id, 10, 'others with these bytes were there before');
});
