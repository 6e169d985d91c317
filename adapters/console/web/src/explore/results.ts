// What a search found: its pages as they are loaded, its counts, and how far a person scrolled and what they expanded.
//
// Bounded: a result has at most 10,000 events and 32 MiB of text, and the four results used last are kept for Back and Forward.
import { signal } from '@preact/signals';
import type { VirtualItem } from '@tanstack/virtual-core';
import { type ApiError, asApiError, get, type LogStats, type StoredEvent } from '../api/client';
import type { Place } from '../state/place';
import { combined, searchParameters } from './query';

const PAGE_EVENTS = 200;
export const EVENTS_MAX = 10_000;
export const TEXT_BYTES_MAX = 32 * 1024 * 1024;
const RESULTS_KEPT = 4;
/** A person who comes back to Explore after this time wants the present state. */
const FRESH_MS = 15_000;

/** Roughly what an event takes in memory, in bytes. */
export function sizeOf(event: StoredEvent): number {
  const metadata = event.metadata === undefined ? 0 : JSON.stringify(event.metadata).length;
  return 400 + 2 * (event.message.length + (event.stackTrace?.length ?? 0) + metadata);
}

/** Equal keys mean equal searches. */
export function searchKey(place: Place): string {
  return JSON.stringify([combined(place), place.levels, place.from, place.to, place.order]);
}

export class Results {
  readonly key: string;
  readonly startedAt = Date.now();
  readonly events = signal<readonly StoredEvent[]>([]);
  readonly loading = signal(false);
  readonly error = signal<ApiError | undefined>(undefined);
  /** Whether all matching events are loaded. */
  readonly complete = signal(false);
  /** Whether no more can be loaded, because of the bounds. */
  readonly full = signal(false);
  readonly stats = signal<LogStats | undefined>(undefined);
  readonly statsLoading = signal(false);
  readonly statsError = signal<ApiError | undefined>(undefined);
  /** How long the first page took, in milliseconds. */
  readonly tookMs = signal<number | undefined>(undefined);
  /** What may have been meant instead, once a search found nothing. */
  readonly hints = signal<readonly string[]>([]);
  /** The newest event without the range of time, once a search found nothing. */
  readonly outside = signal<StoredEvent | 'none' | undefined>(undefined);

  readonly expanded = signal<ReadonlySet<string>>(new Set());
  readonly selected = signal<string>('');
  scrollTop = 0;
  measurements: VirtualItem[] = [];

  #cursor: string | undefined;
  #bytes = 0;
  readonly #broken = new AbortController();

  constructor(readonly place: Place) {
    this.key = searchKey(place);
  }

  /** Loads the next page, unless one is being loaded. */
  async more(): Promise<void> {
    if (this.loading.value || this.complete.value || this.full.value) return;
    this.loading.value = true;
    this.error.value = undefined;
    const began = performance.now();
    try {
      const query = { ...searchParameters(this.place), order: this.place.order, limit: PAGE_EVENTS, cursor: this.#cursor };
      const page = await get('/api/logs', { query, signal: this.#broken.signal });
      this.tookMs.value ??= performance.now() - began;
      this.#bytes += page.events.reduce((sum, event) => sum + sizeOf(event), 0);
      this.events.value = [...this.events.value, ...page.events];
      this.#cursor = page.nextCursor ?? undefined;
      this.complete.value = this.#cursor === undefined;
      this.full.value = !this.complete.value && (this.events.value.length >= EVENTS_MAX || this.#bytes >= TEXT_BYTES_MAX);
      if (this.events.value.length === 0) {
        this.hints.value = page.hints ?? [];
        void this.#lookOutside();
      }
    } catch (error) {
      this.error.value = asApiError(error);
    } finally {
      this.loading.value = false;
    }
  }

  /** Counts by time and level, once. */
  async count(): Promise<void> {
    if (this.statsLoading.value || this.stats.value) return;
    this.statsLoading.value = true;
    this.statsError.value = undefined;
    try {
      // Without a beginning, they would count an hour.
      const from = this.place.from === '' ? { from: 'first' } : {};
      this.stats.value = await get('/api/logs/stats', { query: { ...searchParameters(this.place), ...from }, signal: this.#broken.signal });
    } catch (error) {
      this.statsError.value = asApiError(error);
    } finally {
      this.statsLoading.value = false;
    }
  }

  async #lookOutside(): Promise<void> {
    if (this.place.from === '' && this.place.to === '') return;
    try {
      const { from: _from, to: _to, ...conditions } = searchParameters(this.place);
      const newest = await get('/api/logs', { query: { ...conditions, limit: 1 }, signal: this.#broken.signal });
      this.outside.value = newest.events[0] ?? 'none';
    } catch {
      // It is only a suggestion.
    }
  }

  toggle(eventId: string): void {
    const expanded = new Set(this.expanded.value);
    if (!expanded.delete(eventId)) expanded.add(eventId);
    this.expanded.value = expanded;
  }

  /** Breaks off what is being loaded. */
  abandon(): void {
    this.#broken.abort();
  }
}

/** The results used last, newest at the end. */
let kept: Results[] = [];
export const current = signal<Results | undefined>(undefined);

/** Makes the results of a place the current ones. Those that are kept are shown again if `again` is set, or while they are fresh. */
export function show(place: Place, again: boolean): Results {
  const key = searchKey(place);
  const found = kept.find((results) => results.key === key);
  const isFresh = found !== undefined && found === current.peek() && Date.now() - found.startedAt < FRESH_MS;
  const results = found && (again || isFresh) ? found : new Results(place);
  keep(results);
  current.value = results;
  return results;
}

/** Runs the present search again. */
export function refresh(): void {
  const previous = current.peek();
  if (!previous) return;
  const results = new Results(previous.place);
  keep(results);
  current.value = results;
}

function keep(results: Results): void {
  const others = kept.filter((one) => one !== results && one.key !== results.key);
  for (const dropped of kept.filter((one) => one !== results && (one.key === results.key || !others.slice(1 - RESULTS_KEPT).includes(one)))) dropped.abandon();
  kept = [...others.slice(1 - RESULTS_KEPT), results];
}
