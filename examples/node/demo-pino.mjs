// The same with pino, whose transport runs in a thread of its own. Needs `npm install`.
//
//     LOGS_URL=http://127.0.0.1:8080 node demo-pino.mjs
//
// The variable LOGS_SOURCE is the source. With DEMO_WAIT=1 it waits in the middle for a line on standard input.

import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import pino from 'pino';

const BURST_EVENTS = 500;

function charge() {
  try {
    throw new Error('card service refused the connection');
  } catch (cause) {
    throw new Error('payment failed', { cause });
  }
}

const target = fileURLToPath(new URL('./pino-transport.mjs', import.meta.url));
const transport = pino.transport({ target, options: { source: process.env.LOGS_SOURCE ?? 'demo-pino' } });
const log = pino({ base: { logger: 'shop.checkout' } }, transport);

log.info({ orderId: 'A-1042', items: 3, customer: { country: 'PL' } }, 'order accepted');
log.warn('stock is low: 2 left');
try {
  charge();
} catch (error) {
  log.error(error, 'order not paid');
}
log.info('Zażółć gęślą jaźń 東京 🚀 tab\t newline\n escape \x1b[31m bell \x07 end');
if (process.env.DEMO_WAIT) {
  console.log('waiting');
  await once(process.stdin, 'data');
  process.stdin.destroy();
}
for (let number = 0; number < BURST_EVENTS; number += 1) {
  log.info({ number }, `burst ${number}`);
}

transport.end();
await finished(transport);
console.log(`logged=${4 + BURST_EVENTS}`);
