// The tail as the page sees it. The worker reads; the page takes what it shows.
//
// Bounded: at most 10,000 events and 32 MiB are shown, the oldest go first. A tab that is hidden for 60 s ends its connection and
// resumes where it ended once it is seen again.
import { signal } from '@preact/signals';
import { get, type StoredEvent, unauthenticated, writeQuery, type Parameters } from '../api/client';
import { sizeOf } from '../explore/results';
import type { Connection, FromWorker, Progress, ToWorker } from './protocol';
import { EVENTS_MAX, TEXT_BYTES_MAX } from './protocol';
import workerUrl from './worker?worker&url';

const HIDDEN_MS_MAX = 60_000;
/** What is shown from before the tail began. */
const EARLIER_EVENTS = 50;
const RATE_SECONDS = 5;

/** `require-trusted-types-for 'script'` also guards the address of a worker; this policy allows exactly one. */
function trustedWorker(): string {
  const types = (globalThis as unknown as { trustedTypes?: { createPolicy: (name: string, rules: object) => { createScriptURL: (url: string) => string } } }).trustedTypes;
  const only = (url: string) => {
    if (url !== workerUrl) throw new TypeError('not the worker of the tail');
    return url;
  };
  return types ? types.createPolicy('spillway-tail', { createScriptURL: only }).createScriptURL(workerUrl) : workerUrl;
}

let workerAddress: string | undefined;

export class Following {
  readonly events = signal<readonly StoredEvent[]>([]);
  readonly connection = signal<Connection>({ state: 'connecting' });
  readonly paused = signal(false);
  readonly held = signal(0);
  readonly perSecond = signal(0);
  readonly missed = signal(0);
  readonly discarded = signal(0);
  /** Whether the connection ended because nobody looked. */
  readonly asleep = signal(false);
  /** The first event that came after the beginning, or after the last pause; empty until it comes. */
  readonly firstNew = signal('');

  readonly #worker: Worker;
  #sizes: number[] = [];
  #bytes = 0;
  #arrivals: { at: number; events: number }[] = [];
  #search = 0;
  #isNextNew = true;
  #hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #rateTimer: ReturnType<typeof setInterval>;

  constructor() {
    workerAddress ??= trustedWorker();
    this.#worker = new Worker(workerAddress, { type: 'module', name: 'tail' });
    this.#worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => this.#hear(data));
    document.addEventListener('visibilitychange', this.#onVisibility);
    this.#rateTimer = setInterval(() => this.#measure(), 1_000);
  }

  /** Begins anew with other conditions, without times. */
  follow(conditions: Parameters): void {
    this.#search += 1;
    this.clear();
    this.missed.value = 0;
    this.discarded.value = 0;
    this.firstNew.value = '';
    this.#isNextNew = true;
    this.connection.value = { state: 'connecting' };
    this.#tell({ kind: 'follow', url: `/api/logs/tail?${writeQuery(conditions)}` });
    void this.#earlier(conditions, this.#search);
  }

  pause(): void {
    this.paused.value = true;
    this.#tell({ kind: 'hold' });
  }

  resume(): void {
    this.paused.value = false;
    this.#isNextNew = true;
    this.#tell({ kind: 'release' });
  }

  clear(): void {
    this.events.value = [];
    this.#sizes = [];
    this.#bytes = 0;
    this.#arrivals = [];
    this.perSecond.value = 0;
  }

  /** Connects again at once. */
  retry(): void {
    this.#tell({ kind: 'resume' });
  }

  end(): void {
    this.#tell({ kind: 'end' });
    this.#worker.terminate();
    clearTimeout(this.#hiddenTimer);
    clearInterval(this.#rateTimer);
    document.removeEventListener('visibilitychange', this.#onVisibility);
  }

  /** A few events from before, so that the page is not empty until the next one comes. */
  async #earlier(conditions: Parameters, search: number): Promise<void> {
    try {
      const page = await get('/api/logs', { query: { ...conditions, from: '-1h', limit: EARLIER_EVENTS } });
      if (search !== this.#search) return;
      const known = new Set(this.events.peek().map((event) => event.eventId));
      const earlier = page.events.filter((event) => !known.has(event.eventId)).reverse();
      this.#sizes = [...earlier.map(sizeOf), ...this.#sizes];
      this.#bytes = this.#sizes.reduce((sum, size) => sum + size, 0);
      this.#show([...earlier, ...this.events.peek()]);
    } catch {
      // The tail itself says what is wrong.
    }
  }

  #tell(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromWorker): void {
    if (message.kind === 'progress') this.#take(message);
    else {
      this.connection.value = message.connection;
      if (message.connection.state === 'refused' && message.connection.status === 401) unauthenticated.value += 1;
    }
  }

  #take(progress: Progress): void {
    this.held.value = progress.held;
    if (progress.missed > 0) this.missed.value += progress.missed;
    if (progress.discarded > 0) this.discarded.value += progress.discarded;
    if (progress.received > 0) this.#arrivals.push({ at: performance.now(), events: progress.received });
    const first = progress.events[0];
    if (!first) return;
    if (this.#isNextNew) this.firstNew.value = first.eventId;
    this.#isNextNew = false;
    this.#sizes.push(...progress.sizes);
    this.#bytes += progress.sizes.reduce((sum, size) => sum + size, 0);
    this.#show([...this.events.peek(), ...progress.events]);
  }

  #show(events: StoredEvent[]): void {
    let excess = 0;
    while (events.length - excess > EVENTS_MAX || (this.#bytes > TEXT_BYTES_MAX && events.length - excess > 1)) {
      this.#bytes -= this.#sizes[excess] ?? 0;
      excess += 1;
    }
    this.#sizes = this.#sizes.slice(excess);
    this.events.value = events.slice(excess);
  }

  #measure(): void {
    const since = performance.now() - RATE_SECONDS * 1_000;
    this.#arrivals = this.#arrivals.filter((arrival) => arrival.at >= since);
    this.perSecond.value = this.#arrivals.reduce((sum, arrival) => sum + arrival.events, 0) / RATE_SECONDS;
  }

  readonly #onVisibility = (): void => {
    clearTimeout(this.#hiddenTimer);
    if (document.hidden) {
      this.#hiddenTimer = setTimeout(() => {
        this.asleep.value = true;
        this.#tell({ kind: 'end' });
      }, HIDDEN_MS_MAX);
    } else if (this.asleep.peek()) {
      this.asleep.value = false;
      this.#tell({ kind: 'resume' });
    }
  };
}
