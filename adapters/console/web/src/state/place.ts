// The place: which view, which search, which event. It is the URL, and nothing else decides what the page shows.
//
// Each change is an entry of the browser's history, so Back and Forward work, and a link shows the same to another person.
import { signal } from '@preact/signals';
import { isLevel, type Level } from '../api/levels';

export const VIEWS = ['explore', 'tail', 'dead-letters', 'pipeline', 'send'] as const;
export type View = (typeof VIEWS)[number];
export const SHOWN = ['details', 'context', 'trace'] as const;
export type Shown = (typeof SHOWN)[number];

export interface Place {
  readonly view: View;
  /** The text of the search box, in the query language. */
  readonly query: string;
  /** Conditions that were added by a click, each in the query language. */
  readonly where: readonly string[];
  readonly levels: readonly Level[];
  /** A time in a form of the API; empty: unbounded. */
  readonly from: string;
  readonly to: string;
  readonly order: 'desc' | 'asc';
  /** Fields that are shown as columns. */
  readonly columns: readonly string[];
  /** The event that is open. */
  readonly event: string;
  readonly show: Shown;
}

export const START: Place = {
  view: 'explore', query: '', where: [], levels: [], from: '-1h', to: '', order: 'desc', columns: [], event: '', show: 'details',
};

const CONDITIONS_MAX = 32;
const COLUMNS_MAX = 12;

/** The place that the query of a URL means. Unknown parameters are ignored. */
export function parsePlace(search: string): Place {
  const parameters = new URLSearchParams(search);
  const text = (name: string, fallback = '') => parameters.get(name) ?? fallback;
  const choice = <T extends string>(name: string, values: readonly T[], fallback: T) => values.find((value) => value === text(name)) ?? fallback;
  return {
    view: choice('view', VIEWS, START.view),
    query: text('query'),
    where: parameters.getAll('where').filter(Boolean).slice(0, CONDITIONS_MAX),
    levels: text('level').split(',').filter(isLevel),
    from: parameters.has('to') ? text('from') : text('from', START.from),
    to: text('to'),
    order: choice('order', ['desc', 'asc'], START.order),
    columns: parameters.getAll('column').filter(Boolean).slice(0, COLUMNS_MAX),
    event: text('event'),
    show: choice('show', SHOWN, START.show),
  };
}

/** The query of the URL for a place; what is as at the start is left out. */
export function writePlace(place: Place): string {
  const parameters = new URLSearchParams();
  if (place.view !== START.view) parameters.set('view', place.view);
  if (place.query !== '') parameters.set('query', place.query);
  for (const condition of place.where) parameters.append('where', condition);
  if (place.levels.length > 0) parameters.set('level', place.levels.join(','));
  if (place.from !== START.from) parameters.set('from', place.from);
  if (place.to !== '') parameters.set('to', place.to);
  if (place.order !== START.order) parameters.set('order', place.order);
  for (const column of place.columns) parameters.append('column', column);
  if (place.event !== '') parameters.set('event', place.event);
  if (place.event !== '' && place.show !== START.show) parameters.set('show', place.show);
  // Commas and colons are readable in a query, and allowed (RFC 3986, section 3.4).
  return parameters.toString().replaceAll('%2C', ',').replaceAll('%3A', ':');
}

export const place = signal<Place>(parsePlace(location.search));
/** How the present place was reached: results are kept for Back and Forward, and asked for again otherwise. */
export const arrivedBy = signal<'link' | 'history'>('link');

const AROUND_MS = 60_000;

/** An event among those of the minute before and after it. */
export function around(event: { eventId: string; timestamp: string }, show: Shown = 'details'): Place {
  const at = Date.parse(event.timestamp);
  return { ...START, from: new Date(at - AROUND_MS).toISOString(), to: new Date(at + AROUND_MS).toISOString(), event: event.eventId, show };
}

/** The URL of a place, for links. */
export function href(change: Partial<Place>): string {
  const query = writePlace({ ...place.peek(), ...change });
  return query === '' ? location.pathname : `?${query}`;
}

/** Goes to another place. `replace` changes the entry of the history rather than to add one. */
export function go(change: Partial<Place>, how: 'push' | 'replace' = 'push'): void {
  const next = { ...place.peek(), ...change };
  const url = `${location.pathname}${writePlace(next) === '' ? '' : `?${writePlace(next)}`}`;
  const same = url === `${location.pathname}${location.search}`;
  try {
    if (how === 'replace' || same) history.replaceState(null, '', url);
    else history.pushState(null, '', url);
  } catch {
    // Browsers refuse more than some hundred changes a minute, such as those of a key that is held down. The next one has it.
  }
  arrivedBy.value = 'link';
  place.value = next;
}

addEventListener('popstate', () => {
  arrivedBy.value = 'history';
  place.value = parsePlace(location.search);
});

/** For a click on a link of the page: a plain click stays in the page, all others are the browser's. */
export function follow(change: Partial<Place>): (event: MouseEvent) => void {
  return (event) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(change);
  };
}
