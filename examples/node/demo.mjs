// Logs what an application logs, and prints how many events that were.
//
//     LOGS_URL=http://127.0.0.1:8080 node demo.mjs
//
// The variable LOGS_SOURCE is the source. With DEMO_WAIT=1 it waits in the middle for a line on standard input.

import { once } from 'node:events';
import { SpillwayLogger, SpillwaySender } from './spillway.mjs';

const BURST_EVENTS = 500;

function charge() {
  try {
    throw new Error('card service refused the connection');
  } catch (cause) {
    throw new Error('payment failed', { cause });
  }
}

const sender = new SpillwaySender({ source: process.env.LOGS_SOURCE ?? 'demo-node' });
const log = new SpillwayLogger(sender, { logger: 'shop.checkout' });

log.info('order accepted', { orderId: 'A-1042', items: 3, customer: { country: 'PL' } });
log.warn('stock is low: 2 left');
try {
  charge();
} catch (error) {
  log.error('order not paid', { error });
}
log.info('Zażółć gęślą jaźń 東京 🚀 tab\t newline\n escape \x1b[31m bell \x07 end');
if (process.env.DEMO_WAIT) {
  console.log('waiting');
  await once(process.stdin, 'data');
  process.stdin.destroy();
}
for (let number = 0; number < BURST_EVENTS; number += 1) {
  log.info(`burst ${number}`, { number });
}

await sender.close();
console.log(`logged=${4 + BURST_EVENTS} dropped=${sender.dropped}`);
