// Made-up events of a shop, the same for the same seed: requests across six sources with traces, and an incident in which the
// connections to a bank run out. It began 22 minutes before the end and lasted 16 minutes.
const INCIDENT_BEGIN_MS = 22 * 60_000;
const INCIDENT_END_MS = 6 * 60_000;
const PATHS = ['/cart', '/cart/items', '/search', '/items/4711', '/login', '/orders'];
const STACK = `com.shop.payments.AcquirerException: no connection within 10 s
\tat com.shop.payments.AcquirerClient.authorize(AcquirerClient.java:142)
\tat com.shop.payments.PaymentService.pay(PaymentService.java:88)
Caused by: java.util.concurrent.TimeoutException: pool "acquirer-2" has no free connection
\t... 24 more`;

class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** From 0 to 1. */
  next() {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#state / 2 ** 32;
  }

  below(limit) {
    return Math.floor(this.next() * limit);
  }

  of(list) {
    return list[this.below(list.length)];
  }

  hex(digits) {
    return Array.from({ length: digits }, () => this.below(16).toString(16)).join('');
  }
}

/** About `count` events from `begin` to `end` (milliseconds since 1970), in batches. */
export function* shop(count, begin, end, seed = 42) {
  const random = new Random(seed);
  const step = (end - begin) / count;
  let batch = [];
  for (let made = 0; made < count; ) {
    const requests = request(random, begin + made * step, end);
    made += requests.length;
    batch.push(...requests);
    if (batch.length >= 2_000) {
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}

function request(random, at, end) {
  const traceId = random.hex(32);
  const userId = 10_000 + random.below(4_000);
  const event = (source, level, message, afterMs, metadata, more = {}) => ({ source, level, message, timestamp: new Date(at + afterMs).toISOString(), traceId, spanId: random.hex(16), metadata, ...more });
  const kind = random.next();
  if (kind < 0.45) {
    const path = random.of(PATHS);
    const durationMs = 5 + random.below(180);
    return [event('gateway', 'INFO', `GET ${path} 200 ${durationMs} ms`, 0, { http: { method: 'GET', path, status: 200 }, durationMs, userId })];
  }
  if (kind < 0.6) {
    return [
      event('search', 'DEBUG', `query plan for "${random.of(['red shoes', 'usb cable', 'tea'])}": 3 shards`, 0, { shards: 3, tags: random.of([['cold'], ['warm', 'cache']]) }),
      event('search', 'INFO', `search answered in ${10 + random.below(60)} ms`, 24, { userId }),
    ];
  }
  if (kind < 0.72) return [event('cart', 'TRACE', `cart ${random.hex(8)} loaded from cache`, 0, { cache: 'hit', userId })];
  const failing = at > end - INCIDENT_BEGIN_MS && at < end - INCIDENT_END_MS && random.next() < 0.2;
  return checkout(event, { random, userId, failing });
}

function checkout(event, { random, userId, failing }) {
  const orderId = 900_000 + random.below(90_000);
  const source = `checkout-${random.of(['eu', 'us'])}`;
  const begun = [
    event('gateway', 'INFO', `POST /checkout ${failing ? 502 : 201}`, 0, { http: { method: 'POST', path: '/checkout', status: failing ? 502 : 201 }, userId }),
    event(source, 'INFO', `checkout started for order ${orderId}`, 3, { orderId, userId }),
    event('payments', 'INFO', 'authorizing at acquirer-2', 12, { orderId, acquirer: 'acquirer-2' }),
  ];
  if (!failing) return [...begun, event('payments', 'INFO', 'authorized by acquirer-2', 90, { orderId, acquirer: 'acquirer-2' }), event(source, 'INFO', `order ${orderId} placed`, 140, { orderId, userId })];
  return [
    ...begun,
    event('payments', 'WARN', 'acquirer-2 answers slowly: attempt 2 of 3', 10_013, { orderId, attempt: 2 }),
    event('payments', 'ERROR', 'authorization failed: no connection to acquirer-2 within 10 s (pool exhausted: 50 of 50 in use)', 30_021, { orderId, attempt: 3, pool: { active: 50, max: 50 } }, { stackTrace: STACK }),
    event(source, 'ERROR', `checkout of order ${orderId} failed: payment timeout after 30 s`, 30_030, { orderId, userId, http: { status: 502 } }),
  ];
}
