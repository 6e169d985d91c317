// A logger that sends events to Spillway. Needs Node.js 20 or newer and no package; copy it into your application.
//
//     const sender = new SpillwaySender({ source: 'checkout' });
//     const log = new SpillwayLogger(sender);
//     log.error('order not paid', { orderId: 'A-1042', error });
//     await sender.close();
//
// * A call to the logger never waits for the network: it puts the event into a bounded queue, from which batches are
//   sent.
// * A batch is sent until Spillway answers it, each time with the same Idempotency-Key and the same eventIds. Spillway
//   stores each event once.
// * An event that is dropped is counted in `dropped`, reported on standard error, and reported to Spillway as a WARN
//   event.
// * A process that ends by itself first sends what is left. Before `process.exit`, and in handlers of signals, await
//   `close`.

import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

// Limits of Spillway's API.
const SOURCE_BYTES_MAX = 255;
const TEXT_BYTES_MAX = 256 * 1024;
const METADATA_BYTES_MAX = 64 * 1024;
// A batch fits the default limit of common proxies for a body, 1 MiB.
const BATCH_BYTES_MAX = 1_000_000;
// Spillway answers after at most 30 s.
const ANSWER_TIMEOUT_MS = 35_000;
const BACKOFF_MS_MIN = 100;
const BACKOFF_MS_MAX = 10_000;
const RETRY_AFTER_SECONDS_MAX = 60;
// At the end there is little time left: shorter pauses.
const PAUSE_AT_CLOSE_MS_MAX = 500;
const REPORT_INTERVAL_MS = 60_000;
// The API allows 16 levels of nesting.
const DEPTH_MAX = 8;
const ELEMENTS_MAX = 1000;

/** A bounded queue of events, and the requests that empty it. */
export class SpillwaySender {
  /** Number of events that were dropped. */
  dropped = 0;
  // Encoded events in order. Those of the batch that is being sent stay here until it is answered.
  #queue = [];
  #queueBytes = 0;
  #running = null;
  #closing = null;
  #stop = new AbortController();
  #wake = new AbortController();
  #droppedUnreported = 0;
  #saidAt = -Infinity;
  #lastTime = { ms: 0, micros: 0 };
  #options;

  /**
   * @param {object} options
   * @param {string} options.source name of the application, 1 to 255 bytes
   * @param {string} [options.url] base URL of Spillway; default: LOGS_URL, or http://127.0.0.1:8080
   * @param {object} [options.headers] further headers of each request, such as Authorization
   * @param {number} [options.queueEventsMax] events that wait for Spillway at most; the last tenth is for ERROR and
   *   FATAL
   * @param {number} [options.queueBytesMax] the same in bytes of JSON
   * @param {number} [options.batchEventsMax] events in one request at most: 1 to 10000
   * @param {number} [options.lingerMs] how long an event waits for others to share a request
   * @param {number} [options.closeMs] how long `close` sends what is left
   */
  constructor(options) {
    this.#options = {
      url: process.env.LOGS_URL || 'http://127.0.0.1:8080',
      headers: {},
      queueEventsMax: 10_000,
      queueBytesMax: 16 * 1024 * 1024,
      batchEventsMax: 500,
      lingerMs: 200,
      closeMs: 10_000,
      ...options,
    };
    const bytes = Buffer.byteLength(this.#options.source ?? '');
    if (bytes < 1 || bytes > SOURCE_BYTES_MAX || /\p{Cc}/u.test(this.#options.source)) {
      throw new RangeError('source must have 1 to 255 bytes and no control characters');
    }
    process.once('beforeExit', () => this.close());
  }

  /**
   * Queues an event.
   * @param {string} level TRACE, DEBUG, INFO, WARN, ERROR or FATAL
   * @param {string} message
   * @param {object} [fields] become the metadata, except `error`, which becomes the stack trace
   * @param {number} [time] milliseconds since 1970
   */
  put(level, message, fields = {}, time = Date.now()) {
    const severe = level === 'ERROR' || level === 'FATAL';
    let event;
    try {
      event = this.#encode(level, message, fields, time);
    } catch (error) {
      this.#drop(1, `not an event: ${error.message}`);
      return;
    }
    this.#add(event, severe, this.#closing !== null);
  }

  /** Sends what is left, for at most `closeMs`, and drops the rest. */
  close() {
    this.#closing ??= (async () => {
      this.#wake.abort();
      const end = new AbortController();
      const timeout = sleep(this.#options.closeMs, undefined, { signal: end.signal }).catch(() => {});
      await Promise.race([this.#running, timeout]);
      end.abort();
      this.#stop.abort();
      const left = this.#queue.length;
      this.#queue = [];
      this.dropped += left;
      if (left > 0) this.#say(`${left} events were not sent before the end`, true);
    })();
    return this.#closing;
  }

  #encode(level, message, fields, time) {
    const { error, traceId, trace_id = traceId, spanId, span_id = spanId, ...rest } = fields;
    const event = { eventId: randomUUID(), timestamp: this.#timestamp(time), source: this.#options.source, level };
    event.message = cut(text(() => String(message)).toWellFormed()) || '(empty)';
    if (error !== undefined) event.stackTrace = cut(stackTraceOf(error).toWellFormed());
    if (/^[0-9a-f]{32}$/i.test(trace_id)) event.traceId = trace_id;
    else if (trace_id !== undefined) rest.traceId = trace_id;
    if (/^[0-9a-f]{16}$/i.test(span_id)) event.spanId = span_id;
    else if (span_id !== undefined) rest.spanId = span_id;
    event.metadata = plain(rest);
    const bytes = Buffer.byteLength(JSON.stringify(event.metadata));
    if (bytes > METADATA_BYTES_MAX) event.metadata = { metadataBytesDropped: bytes };
    return JSON.stringify(event);
  }

  // The clock counts milliseconds. Events of one millisecond get consecutive microseconds, so that their order is kept.
  #timestamp(time) {
    const ms = Math.floor(time);
    const micros = ms === this.#lastTime.ms ? Math.min(this.#lastTime.micros + 1, 999) : 0;
    this.#lastTime = { ms, micros };
    return new Date(ms).toISOString().replace('Z', `${String(micros).padStart(3, '0')}Z`);
  }

  #add(text, severe, closed) {
    const bytes = Buffer.byteLength(text);
    const share = severe ? 1 : 0.9;
    const { queueEventsMax, queueBytesMax } = this.#options;
    const fits = this.#queue.length < queueEventsMax * share && this.#queueBytes + bytes <= queueBytesMax * share;
    if (!fits || closed || this.#stop.signal.aborted) {
      this.#drop(1, fits ? 'the sender is closed' : 'the queue is full');
      return;
    }
    this.#queue.push({ text, bytes });
    this.#queueBytes += bytes;
    this.#running ??= this.#run();
  }

  async #run() {
    await this.#pause(this.#options.lingerMs, 0);
    while (this.#queue.length > 0 && !this.#stop.signal.aborted) {
      await this.#send(this.#nextBatch());
    }
    this.#running = null;
  }

  #nextBatch() {
    const batch = [];
    let size = 0;
    for (const event of this.#queue.slice(0, this.#options.batchEventsMax)) {
      size += event.bytes + 1;
      if (batch.length > 0 && size > BATCH_BYTES_MAX) break;
      batch.push(event);
    }
    return batch;
  }

  // Sends a batch until it is answered.
  async #send(batch) {
    const body = `[${batch.map((event) => event.text).join(',')}]`;
    const key = randomUUID();
    for (let backoff = BACKOFF_MS_MIN; !this.#stop.signal.aborted; backoff = Math.min(backoff * 2, BACKOFF_MS_MAX)) {
      const { status, retryAfterMs, answer } = await this.#post(body, key);
      const proves = status !== 202 || isAbout(answer, batch.length);
      if (proves && status !== 0 && status !== 408 && status !== 429 && status < 500) {
        await this.#settle(batch, status, answer);
        return;
      }
      const reason = proves ? answer.detail ?? status : 'the answer is invalid';
      this.#say(`Spillway takes no events, trying again: ${reason}`);
      await this.#pause(retryAfterMs ?? backoff * (0.5 + Math.random() / 2));
    }
  }

  // Status (0 without an answer), Retry-After, and the decoded answer.
  async #post(body, key) {
    const headers = { ...this.#options.headers, 'Content-Type': 'application/json', 'Idempotency-Key': key };
    const url = `${this.#options.url.replace(/\/+$/, '')}/api/logs/batch`;
    try {
      const signal = AbortSignal.any([AbortSignal.timeout(ANSWER_TIMEOUT_MS), this.#stop.signal]);
      const answer = await fetch(url, { method: 'POST', body, headers, signal });
      const text = await answer.text();
      const seconds = answer.headers.get('Retry-After') ?? '';
      const isNumber = /^\d{1,9}$/.test(seconds);
      const retryAfterMs = isNumber ? Math.min(Number(seconds), RETRY_AFTER_SECONDS_MAX) * 1000 : undefined;
      return { status: answer.status, retryAfterMs, answer: objectOf(text) };
    } catch (error) {
      // No answer: the outcome is unknown.
      return { status: 0, answer: { detail: error.cause?.message || error.message } };
    }
  }

  // Removes an answered batch from the queue, and puts back what Spillway will take later.
  async #settle(batch, status, answer) {
    if (this.#stop.signal.aborted) return;
    const errors = status === 202 ? answer.errors : [];
    const again = errors.filter((error) => error.retryable).map((error) => batch[error.index]);
    this.#queue = this.#queue.slice(batch.length).concat(again);
    this.#queueBytes = this.#queue.reduce((sum, event) => sum + event.bytes, 0);
    if (status !== 202) {
      this.#drop(batch.length, `${status} ${answer.code ?? ''}: ${answer.detail ?? ''}`);
      return;
    }
    const refused = errors.filter((error) => !error.retryable);
    if (refused.length > 0) this.#drop(refused.length, `${refused[0].code}: ${refused[0].detail}`);
    if (again.length > 0) await this.#pause(1000);
    else if (this.#droppedUnreported > 0) this.#reportDropped();
  }

  // Waits. `close` ends the wait; while it waits itself, pauses are short. A pause does not keep the process alive.
  async #pause(ms, atCloseMsMax = PAUSE_AT_CLOSE_MS_MAX) {
    if (this.#wake.signal.aborted) await sleep(Math.min(ms, atCloseMsMax));
    else await sleep(ms, undefined, { signal: this.#wake.signal, ref: false }).catch(() => {});
  }

  #drop(count, reason) {
    this.dropped += count;
    this.#droppedUnreported += count;
    this.#say(`${count} events dropped (${this.dropped} in all): ${reason}`);
  }

  #reportDropped() {
    const dropped = this.#droppedUnreported;
    this.#droppedUnreported = 0;
    const message = `${dropped} log events were dropped before they reached Spillway`;
    this.#add(this.#encode('WARN', message, { dropped }, Date.now()), true, false);
  }

  // Prints to standard error, once a minute: a logger cannot log its own failures.
  #say(text, always = false) {
    if (!always && performance.now() - this.#saidAt < REPORT_INTERVAL_MS) return;
    this.#saidAt = performance.now();
    try {
      // In a thread, process.stderr would wait for the main thread, which may be about to exit.
      writeSync(2, `spillway: ${text.slice(0, 500)}\n`);
    } catch {
      // Nobody reads standard error.
    }
  }
}

/** A logger with one method for each level, and fields that all its events have. */
export class SpillwayLogger {
  #sender;
  #fields;

  constructor(sender, fields = {}) {
    this.#sender = sender;
    this.#fields = fields;
  }

  /** A logger with further fields. */
  child(fields) { return new SpillwayLogger(this.#sender, { ...this.#fields, ...fields }); }

  trace(message, fields) { this.#log('TRACE', message, fields); }
  debug(message, fields) { this.#log('DEBUG', message, fields); }
  info(message, fields) { this.#log('INFO', message, fields); }
  warn(message, fields) { this.#log('WARN', message, fields); }
  error(message, fields) { this.#log('ERROR', message, fields); }
  fatal(message, fields) { this.#log('FATAL', message, fields); }

  #log(level, message, fields) { this.#sender.put(level, message, { ...this.#fields, ...fields }); }
}

/** The stack of an error and of its causes. Other values as text. */
export function stackTraceOf(error) {
  const parts = [];
  for (let cause = error; cause !== undefined && cause !== null && parts.length < DEPTH_MAX; cause = cause.cause) {
    parts.push(text(() => cause.stack || `${cause.type ?? 'Error'}: ${cause.message ?? text(() => String(cause))}`));
  }
  return parts.join('\nCaused by: ') || text(() => String(error));
}

// A value that JSON and Spillway can represent; anything else becomes text.
function plain(value, depth = 0) {
  if (value === null || typeof value === 'boolean' || Number.isFinite(value)) return value;
  if (typeof value === 'string') return value.toWellFormed();
  if (value instanceof Date) return value.toJSON();
  if (value instanceof Error || typeof value !== 'object' || depth >= DEPTH_MAX) {
    return text(() => String(value)).toWellFormed();
  }
  if (Array.isArray(value)) return value.slice(0, ELEMENTS_MAX).map((item) => plain(item, depth + 1));
  const entries = Object.entries(value).filter(([, item]) => item !== undefined).slice(0, ELEMENTS_MAX);
  return Object.fromEntries(entries.map(([name, item]) => [name.toWellFormed(), plain(item, depth + 1)]));
}

// Conversions to text are code of the application, and may throw.
function text(convert) {
  try {
    return String(convert());
  } catch {
    return '(no text)';
  }
}

function cut(value) {
  if (Buffer.byteLength(value) <= TEXT_BYTES_MAX) return value;
  // A character that is cut in half becomes U+FFFD.
  return Buffer.from(value).subarray(0, TEXT_BYTES_MAX).toString().replace(/\uFFFD+$/, '');
}

function objectOf(json) {
  try {
    const value = JSON.parse(json);
    return value !== null && typeof value === 'object' ? value : {};
  } catch {
    return {};
  }
}

// Whether an answer accounts for this number of events. Otherwise it proves nothing about any of them.
function isAbout(answer, events) {
  const { accepted, errors } = answer;
  if (!Array.isArray(errors) || accepted !== events - errors.length) return false;
  const indices = new Set(errors.map((error) => error?.index));
  const isIndex = (index) => Number.isInteger(index) && index >= 0 && index < events;
  return indices.size === errors.length && [...indices].every(isIndex);
}
