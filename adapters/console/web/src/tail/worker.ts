// The worker of a tail: it reads the stream, keeps what the page has not taken, and resumes after a failure.
//
// Bounded: it keeps at most 10,000 events and 32 MiB; beyond that the oldest are discarded and counted.
import { parseExactly } from '../api/exact-json';
import { EventStreamReader, type Message } from './event-stream';
import { BATCH_INTERVAL_MS, type Connection, EVENTS_MAX, type FromWorker, TEXT_BYTES_MAX, type ToWorker } from './protocol';
import type { StoredEvent } from '../api/client';

const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
/** The server says something at least every 5 s. */
const SILENCE_MS_MAX = 20_000;

let kept: { event: StoredEvent; bytes: number }[] = [];
let keptBytes = 0;
let held = false;
let received = 0;
let missed = 0;
let discarded = 0;
let url = '';
/** Where to resume: behind everything that was read, whether the page has it or not. */
let lastEventId: string | undefined;
let following: AbortController | undefined;
let changed = false;

function send(message: FromWorker): void {
  postMessage(message);
}

function tell(connection: Connection): void {
  send({ kind: 'connection', connection });
}

function keep(text: string): void {
  const bytes = 2 * text.length;
  kept.push({ event: parseExactly(text) as StoredEvent, bytes });
  keptBytes += bytes;
  received += 1;
  let excess = 0;
  while (kept.length - excess > EVENTS_MAX || (keptBytes > TEXT_BYTES_MAX && kept.length - excess > 1)) {
    keptBytes -= kept[excess]?.bytes ?? 0;
    excess += 1;
  }
  if (excess > 0) {
    kept.splice(0, excess);
    discarded += excess;
  }
}

function take(message: Message): void {
  changed = true;
  if (message.id !== undefined) lastEventId = message.id;
  if (message.name === 'missed') missed += (JSON.parse(message.data) as { events: number }).events;
  else if (message.data !== '') keep(message.data);
}

function report(): void {
  if (!changed) return;
  changed = false;
  const taken = held ? [] : kept;
  const events = taken.map((one) => one.event);
  const sizes = taken.map((one) => one.bytes);
  if (!held) [kept, keptBytes] = [[], 0];
  send({ kind: 'progress', events, sizes, held: kept.length, received, missed, discarded });
  [received, missed, discarded] = [0, 0, 0];
}

/** Reads until the stream ends or fails. */
async function read(control: AbortController, onOpen: () => void): Promise<void> {
  const headers: Record<string, string> = { Accept: 'text/event-stream' };
  if (lastEventId !== undefined) headers['Last-Event-ID'] = lastEventId;
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
  const signal = AbortSignal.any ? AbortSignal.any([control.signal, silence.signal]) : control.signal;
  try {
    const response = await fetch(url, { headers, signal, cache: 'no-store' });
    if (!response.ok || !response.body) throw await refusal(response);
    onOpen();
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const stream = new EventStreamReader();
    for (;;) {
      const { done, value } = await reader.read();
      // What arrives after another connection has begun comes from that one too.
      if (done || control.signal.aborted) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
      for (const message of stream.push(decoder.decode(value, { stream: true }))) take(message);
    }
  } finally {
    clearTimeout(timer);
  }
}

class Refusal extends Error {
  constructor(readonly status: number, readonly code: string, detail: string, readonly retryAfterMs: number) {
    super(detail);
  }
}

async function refusal(response: Response): Promise<Refusal> {
  const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string };
  const retryAfter = Number(response.headers.get('Retry-After') ?? 0) * 1000;
  return new Refusal(response.status, problem.code ?? 'unknown', problem.detail ?? `The server answered ${response.status}`, retryAfter);
}

/** Follows until it is told to end. Waits between attempts, longer after each failure. */
async function follow(control: AbortController): Promise<void> {
  let wait = RETRY_MS_MIN;
  while (!control.signal.aborted) {
    tell({ state: 'connecting' });
    let detail = 'Spillway ended the stream.';
    let retryInMs = wait;
    try {
      await read(control, () => {
        wait = RETRY_MS_MIN;
        tell({ state: 'open' });
      });
      retryInMs = RETRY_MS_MIN;
    } catch (error) {
      if (control.signal.aborted) return;
      if (error instanceof Refusal && error.status >= 400 && error.status < 500 && error.status !== 429) {
        tell({ state: 'refused', code: error.code, detail: error.message, status: error.status });
        return;
      }
      detail = error instanceof Refusal ? error.message : 'Spillway does not answer.';
      retryInMs = Math.max(retryInMs, error instanceof Refusal ? Math.min(error.retryAfterMs, RETRY_MS_MAX) : 0);
    }
    tell({ state: 'waiting', detail, retryInMs });
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, retryInMs);
      control.signal.addEventListener('abort', () => { clearTimeout(timer); resolve(undefined); }, { once: true });
    });
    wait = Math.min(2 * wait, RETRY_MS_MAX);
  }
}

addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === 'hold' || data.kind === 'release') {
    held = data.kind === 'hold';
    changed = true;
    if (!held) report();
    return;
  }
  following?.abort();
  if (data.kind === 'end') return;
  if (data.kind === 'follow') {
    url = data.url;
    lastEventId = undefined;
    [kept, keptBytes, received, missed, discarded] = [[], 0, 0, 0, 0];
    changed = true;
  }
  following = new AbortController();
  void follow(following);
});

setInterval(report, BATCH_INTERVAL_MS);
