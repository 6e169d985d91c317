// How many alerts fire and how many dead letters wait, for the navigation: a person in another view should learn it too.
import { signal } from '@preact/signals';
import { get } from '../api/client';
import { alerts, type Fleet } from './fleet';

const POLL_MS = 15_000;
/** The store counts them for each answer. */
const LETTERS_POLL_MS = 60_000;

export const firing = signal<{ count: number; critical: boolean; away: boolean } | undefined>(undefined);

/** Dead letters that were not sent again; at most so many as the store counts, `more` if there are more of them. */
export const waiting = signal<{ count: number; more: boolean } | undefined>(undefined);

/** Asks how many dead letters wait. */
export async function countLetters(signal?: AbortSignal): Promise<void> {
  try {
    const { total, moreThanTotal } = await get('/api/dlq', { query: { redriven: false, limit: 1 }, ...(signal ? { signal } : {}) });
    waiting.value = total === undefined || total === null ? undefined : { count: total, more: moreThanTotal };
  } catch {
    // The view of dead letters says what is wrong.
    waiting.value = undefined;
  }
}

/** Takes an answer, whichever view asked for it. */
export function note(fleet: Fleet): void {
  const found = alerts(fleet);
  const away = fleet.instances.some((instance) => instance.report?.producer?.outage?.state === 'away');
  firing.value = { count: found.length, critical: found.some(({ alert }) => alert.severity === 'critical'), away };
}

/** Asks from time to time, while the page is seen. Returns how to end it. */
export function watch(): () => void {
  const broken = new AbortController();
  let timer: ReturnType<typeof setTimeout>;
  let lettersAt = -LETTERS_POLL_MS;
  const ask = async () => {
    if (!document.hidden && performance.now() - lettersAt >= LETTERS_POLL_MS) {
      lettersAt = performance.now();
      void countLetters(broken.signal);
    }
    try {
      if (!document.hidden) note(await get('/actuator/fleet', { signal: broken.signal }));
    } catch {
      // The Pipeline view says what is wrong.
      firing.value = undefined;
    }
    if (!broken.signal.aborted) timer = setTimeout(() => void ask(), POLL_MS);
  };
  void ask();
  return () => {
    broken.abort();
    clearTimeout(timer);
  };
}
