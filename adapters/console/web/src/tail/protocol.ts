// What the page and the worker of a tail say to each other.
import type { StoredEvent } from '../api/client';

export const EVENTS_MAX = 10_000;
export const TEXT_BYTES_MAX = 32 * 1024 * 1024;
/** The worker hands over events four times a second. */
export const BATCH_INTERVAL_MS = 250;

export type ToWorker =
  /** Begin anew with this search. */
  | { kind: 'follow'; url: string }
  /** Connect again and continue: what is held stays. */
  | { kind: 'resume' }
  | { kind: 'hold' }
  | { kind: 'release' }
  | { kind: 'end' };

export type Connection =
  | { state: 'connecting' }
  | { state: 'open' }
  | { state: 'waiting'; detail: string; retryInMs: number }
  | { state: 'refused'; code: string; detail: string; status: number };

export interface Progress {
  kind: 'progress';
  /** Events that are handed over; none while they are held. */
  events: StoredEvent[];
  /** The size of each of them, in bytes. */
  sizes: number[];
  /** Events that are held. */
  held: number;
  /** Events that were received since the last progress. */
  received: number;
  /** Events that the server skipped because this reader was too slow, since the last progress. */
  missed: number;
  /** Held events that were discarded because there are too many, since the last progress. */
  discarded: number;
}

export type FromWorker = Progress | { kind: 'connection'; connection: Connection };
