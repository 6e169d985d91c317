// What a dead letter has in it, which ones are sent again, and what came of one after it was sent again.
import { ApiError, type DeadLetter, get, type RedriveRequest, type StoredEvent } from '../api/client';

/** What a value has of an event, as far as it can be decoded. */
export interface LetterEvent {
  eventId?: string | undefined;
  source?: string | undefined;
  message?: string | undefined;
}

export function eventOf({ value, encoding }: DeadLetter): LetterEvent | undefined {
  if (encoding !== 'text' || !value.trimStart().startsWith('{')) return undefined;
  try {
    const members = JSON.parse(value) as Record<string, unknown>;
    const text = (name: string) => (typeof members[name] === 'string' ? members[name] : undefined);
    return { eventId: text('eventId'), source: text('source'), message: text('message') };
  } catch {
    return undefined;
  }
}

/** The consumer could not decode it: it was not even tried to store it. */
export function isUndecodable(letter: DeadLetter): boolean {
  return letter.attempts === 0;
}

export type RedriveScope = { kind: 'one'; letter: DeadLetter } | { kind: 'all'; topic: string };

/** Which dead letters are meant, at this time: those that are found later, such as the same ones that fail again, are not. */
export function meant(scope: RedriveScope, now: Date): Partial<RedriveRequest> {
  if (scope.kind === 'one') return { id: scope.letter.id, ...(scope.letter.redrivenAt == null ? {} : { force: true }) };
  return { ...(scope.topic === '' ? {} : { topic: scope.topic }), to: now.toISOString() };
}

export type Outcome = { kind: 'stored'; event: StoredEvent } | { kind: 'refused'; reason: string } | { kind: 'unknown' };

const POLL_MS = 1_000;
const POLLS = 10;
/** The new letter may be found this long before the old one is marked as sent. */
const MARKED_WITHIN_MS = 100;
/** The machine that finds the new letter may have a clock that is this far behind. */
const BEHIND_MS = 2_000;
const LETTERS_MAX = 100;

/** The last letter with the same bytes, if there is another one: what is sent again has another place on the bus. */
export function refusedAgain(letter: DeadLetter, found: readonly DeadLetter[]): DeadLetter | undefined {
  return found.filter((one) => one.id > letter.id && one.key === letter.key && one.value === letter.value).at(-1);
}

/** Asks for some seconds whether a letter that was sent is stored, or is a dead letter again. */
export async function outcomeOf(letter: DeadLetter, signal: AbortSignal): Promise<Outcome> {
  const eventId = eventOf(letter)?.eventId;
  // A time of the servers: the clock of this machine may be another one.
  const sent = (await get('/api/dlq', { query: { id: letter.id }, signal })).deadLetters[0]?.redrivenAt;
  const sentAt = Date.parse(sent ?? letter.at);
  const from = new Date(sentAt - BEHIND_MS).toISOString();
  let cursor: number | undefined;
  // A letter with the same bytes that may have been there before, unless a clock is behind.
  let earlier: DeadLetter | undefined;
  for (let poll = 0; poll < POLLS && !signal.aborted; poll += 1) {
    if (poll > 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const page = await get('/api/dlq', { query: { topic: letter.topic, redriven: false, from, limit: LETTERS_MAX, cursor }, signal });
    cursor = page.nextCursor ?? cursor;
    const again = refusedAgain(letter, page.deadLetters);
    if (again && Date.parse(again.at) >= sentAt - MARKED_WITHIN_MS) return { kind: 'refused', reason: again.reason };
    earlier = again ?? earlier;
    const event = eventId === undefined ? undefined : await stored(eventId, signal);
    if (event) return { kind: 'stored', event };
  }
  return earlier ? { kind: 'refused', reason: earlier.reason } : { kind: 'unknown' };
}

async function stored(eventId: string, signal: AbortSignal): Promise<StoredEvent | undefined> {
  try {
    return await get('/api/logs/{eventId}', { path: { eventId }, signal });
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 400)) return undefined;
    throw error;
  }
}
