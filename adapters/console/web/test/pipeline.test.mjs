// What the pipeline says of the bus.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { load } from './load.mjs';

const { isWithoutBus, titleOf } = await load('pipeline/fleet.ts');
const fleet = JSON.parse(await readFile(new URL('../../../../tests/console/fixtures/fleet-kafka-away.json', import.meta.url)));
const [gateway, producer, consumer, unreachable] = fleet.instances;
const DOWN = { bus: { status: 'DOWN', detail: 'Connection refused' } };

/** An instance whose report says something else. */
function but(instance, report) {
  return { ...instance, report: { ...instance.report, ...report } };
}

test('a process without the bus is one that reports it, whatever the breaker says', () => {
  assert.deepEqual([gateway, producer, consumer, unreachable].map(isWithoutBus), [false, true, false, false]);
  const part = { ...producer.report.producer, breakers: [{ name: 'kafka', state: 'closed', opened: 0 }], outage: undefined };
  // No traffic: no record failed, so the breaker is closed.
  assert.equal(isWithoutBus(but(producer, { producer: part })), true);
  assert.equal(isWithoutBus(but(producer, { producer: part, components: {} })), false);
  assert.equal(isWithoutBus(but(producer, { producer: { ...part, outage: { state: 'away', summary: '' } }, components: {} })), true);
  assert.equal(isWithoutBus(but(consumer, { components: DOWN })), true);
});

test('a role of one process has no address of its own', () => {
  assert.equal(titleOf(producer), '10.0.0.11:8081');
  assert.equal(titleOf({ ...producer, role: 'all' }), 'in this process');
});
