// How many alerts fire, for the navigation: a person in another view should learn it too.
import { signal } from '@preact/signals';
import { get } from '../api/client';
import { alerts, type Fleet } from './fleet';

const POLL_MS = 15_000;

export const firing = signal<{ count: number; critical: boolean; away: boolean } | undefined>(undefined);

/** Takes an answer, whichever view asked for it. */
export function note(fleet: Fleet): void {
  const found = alerts(fleet);
  const away = fleet.instances.some((instance) => instance.report?.producer?.outage?.state === 'away');
  firing.value = { count: found.length, critical: found.some(({ alert }) => alert.severity === 'critical'), away };
}

/** Asks from time to time, while the page is seen. Returns how to end it. */
export function watchAlerts(): () => void {
  const broken = new AbortController();
  let timer: ReturnType<typeof setTimeout>;
  const ask = async () => {
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
