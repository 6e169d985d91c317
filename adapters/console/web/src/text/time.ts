// Times as the API takes and returns them, and as people read them.
//
// Events have microseconds, which `Date` has not: where all digits matter, the text of the API is shown and not a `Date`.
export type Zone = 'local' | 'utc';

/** Presets of the time range, as `from` of the API. An empty one is all time. */
export const RANGES: readonly { from: string; label: string }[] = [
  { from: '-5m', label: 'Last 5 minutes' },
  { from: '-15m', label: 'Last 15 minutes' },
  { from: '-1h', label: 'Last hour' },
  { from: '-6h', label: 'Last 6 hours' },
  { from: '-1d', label: 'Last 24 hours' },
  { from: '-7d', label: 'Last 7 days' },
  { from: '-30d', label: 'Last 30 days' },
  { from: '', label: 'All time' },
];

const two = (value: number) => String(value).padStart(2, '0');
const three = (value: number) => String(value).padStart(3, '0');

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  millisecond: number;
}

function parts(time: Date, zone: Zone): Parts {
  if (zone === 'utc') {
    return {
      year: time.getUTCFullYear(), month: time.getUTCMonth() + 1, day: time.getUTCDate(),
      hour: time.getUTCHours(), minute: time.getUTCMinutes(), second: time.getUTCSeconds(), millisecond: time.getUTCMilliseconds(),
    };
  }
  return {
    year: time.getFullYear(), month: time.getMonth() + 1, day: time.getDate(),
    hour: time.getHours(), minute: time.getMinutes(), second: time.getSeconds(), millisecond: time.getMilliseconds(),
  };
}

/** `21:20:05.199` */
export function clock(text: string, zone: Zone): string {
  const p = parts(new Date(text), zone);
  return `${two(p.hour)}:${two(p.minute)}:${two(p.second)}.${three(p.millisecond)}`;
}

/** `11-24`, or `2024-11-24` in another year than the present one. */
export function day(text: string | Date, zone: Zone): string {
  const p = parts(new Date(text), zone);
  const date = `${two(p.month)}-${two(p.day)}`;
  return p.year === parts(new Date(), zone).year ? date : `${p.year}-${date}`;
}

/** `2024-11-24 21:20:05` */
export function full(text: string | Date, zone: Zone): string {
  const p = parts(new Date(text), zone);
  return `${p.year}-${two(p.month)}-${two(p.day)} ${two(p.hour)}:${two(p.minute)}:${two(p.second)}`;
}

/** `2024-11-24 21:20:05.199341`, with the digits that the event has, and three of them at least. */
export function exact(text: string, zone: Zone): string {
  return `${full(text, zone)}.${(/\.(\d+)/.exec(text)?.[1] ?? '').padEnd(3, '0')}`;
}

/** What an axis shows at a tick: times of day, and the date at midnight. */
export function tick(seconds: number, step: number, zone: Zone): string {
  const time = new Date(seconds * 1000);
  const p = parts(time, zone);
  if (step >= 86_400 || (p.hour === 0 && p.minute === 0 && p.second === 0)) return day(time, zone);
  return step < 60 ? `${two(p.hour)}:${two(p.minute)}:${two(p.second)}` : `${two(p.hour)}:${two(p.minute)}`;
}

/** The name of a zone: `UTC`, or the offset of this browser now. */
export function zoneName(zone: Zone): string {
  if (zone === 'utc') return 'UTC';
  const minutes = -new Date().getTimezoneOffset();
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? '−' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** How long ago, or in how long: `3 min ago`. */
export function ago(text: string, now = Date.now()): string {
  const seconds = (now - Date.parse(text)) / 1000;
  const size = Math.abs(seconds);
  const units: [number, string][] = [[86_400 * 365, 'years'], [86_400, 'days'], [3_600, 'h'], [60, 'min'], [1, 's']];
  const [length, unit] = units.find(([length]) => size >= length) ?? [1, 's'];
  const amount = `${Math.floor(size / length)} ${unit}`.replace(/^1 (year|day)s$/, '1 $1');
  return seconds >= 0 ? `${amount} ago` : `in ${amount}`;
}

/** The end, exclusive, of what comes before a time or has it: the API compares microseconds, so it is the next millisecond. */
export function justAfter(text: string): string {
  return new Date(Date.parse(text) + 1).toISOString();
}

/** The same time in RFC 3339, if it is in one of the API's forms. What is written so already keeps its digits. */
export function absoluteTime(text: string, now: number): string | undefined {
  if (/^\d{4}-/.test(text)) return text;
  const time = resolve(text, now);
  return time === undefined ? undefined : new Date(time).toISOString();
}

const UNIT_NAMES: Record<string, string> = { s: 's', m: 'minutes', h: 'hours', d: 'days', w: 'weeks' };
const UNITS: Record<string, number> = { s: 1e3, m: 60e3, h: 3_600e3, d: 86_400e3, w: 604_800e3 };

/** Milliseconds since 1970 of a time in one of the API's forms, or `undefined` if it is none. */
export function resolve(text: string, now: number): number | undefined {
  if (text === 'now') return now;
  const relative = /^(?:now)?-(\d+)([smhdw])$/.exec(text);
  if (relative) return now - Number(relative[1]) * (UNITS[relative[2] ?? ''] ?? 0);
  // Numbers with fewer than twelve digits are seconds.
  if (/^\d{10,}$/.test(text)) return Number(text) * (text.length < 12 ? 1e3 : 1);
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(time) ? undefined : time;
}

/** A time that a person wrote: the forms of the API, and `2024-11-24 21:20` in the zone that is shown. */
export function written(text: string, zone: Zone): string | undefined {
  const trimmed = text.trim();
  if (trimmed === '') return '';
  const local = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?)?$/.exec(trimmed);
  if (local) {
    const time = new Date(`${local[1]}T${local[2] ?? '00:00'}${local[3] ?? ''}${zone === 'utc' ? 'Z' : ''}`);
    return Number.isNaN(time.getTime()) ? undefined : time.toISOString();
  }
  return resolve(trimmed, Date.now()) === undefined ? undefined : trimmed;
}

/** A range in words. */
export function rangeName(from: string, to: string, zone: Zone): string {
  const preset = to === '' ? RANGES.find((range) => range.from === from) : undefined;
  if (preset) return preset.label;
  const relative = /^(?:now)?-(\d+)([smhdw])$/.exec(from);
  if (relative && to === '') return `Last ${relative[1]} ${UNIT_NAMES[relative[2] ?? '']}`;
  const name = (text: string) => (/^\d/.test(text) ? shortTime(text, zone) : text);
  if (from === '') return `until ${name(to)}`;
  return to === '' ? `since ${name(from)}` : `${name(from)} – ${sameDay(from, to, zone) ? clock(to, zone).slice(0, 8) : name(to)}`;
}

function shortTime(text: string, zone: Zone): string {
  const time = resolve(text, Date.now());
  if (time === undefined) return text;
  const iso = new Date(time).toISOString();
  return `${day(iso, zone)} ${clock(iso, zone).slice(0, 8)}`;
}

function sameDay(from: string, to: string, zone: Zone): boolean {
  return /^\d{4}-/.test(from) && /^\d{4}-/.test(to) && day(from, zone) === day(to, zone);
}
