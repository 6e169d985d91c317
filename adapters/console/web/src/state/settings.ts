// What a person chose, kept in `localStorage`: it belongs to the browser and is not part of a link.
//
// Where storage is not allowed, choices last as long as the page.
import { effect, signal, type Signal } from '@preact/signals';
import type { Zone } from '../text/time';

/** Reads a value from storage; `fallback` if there is none that `accept` takes. */
export function stored<T>(name: string, fallback: T, accept: (value: unknown) => value is T): T {
  try {
    const text = localStorage.getItem(`spillway.${name}`);
    const value: unknown = text === null ? undefined : JSON.parse(text);
    return accept(value) ? value : fallback;
  } catch {
    return fallback;
  }
}

/** Writes a value to storage, if that is allowed and there is room. */
export function store(name: string, value: unknown): void {
  try {
    localStorage.setItem(`spillway.${name}`, JSON.stringify(value));
  } catch {
    // The choice lasts as long as the page.
  }
}

function setting<T>(name: string, fallback: T, accept: (value: unknown) => value is T): Signal<T> {
  const value = signal(stored(name, fallback, accept));
  effect(() => store(name, value.value));
  return value;
}

const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
const oneOf =
  <T extends string>(...values: T[]) =>
  (value: unknown): value is T =>
    values.includes(value as T);

export type Theme = 'system' | 'light' | 'dark';

export const theme = setting<Theme>('theme', 'system', oneOf('system', 'light', 'dark'));
export const zone = setting<Zone>('zone', 'local', oneOf('local', 'utc'));
/** Whether long messages take several lines. */
export const wrap = setting('wrap', false, isBoolean);
export const showHistogram = setting('histogram', true, isBoolean);
/** Narrow pages begin without the fields. */
export const showFields = setting('fields', matchMedia('(min-width: 1100px)').matches, isBoolean);
/** Keys without a modifier can be switched off (WCAG 2.1.4). */
export const keysEnabled = setting('keys', true, isBoolean);

const systemDark = matchMedia('(prefers-color-scheme: dark)');
/** Whether the page is dark now. */
export const dark = signal(systemDark.matches);

effect(() => {
  dark.value = theme.value === 'system' ? systemDark.matches : theme.value === 'dark';
  document.documentElement.dataset.theme = theme.value;
});
systemDark.addEventListener('change', () => {
  if (theme.value === 'system') dark.value = systemDark.matches;
});
