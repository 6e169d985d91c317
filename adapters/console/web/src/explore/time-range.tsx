// The range of time: presets, exact times, and shifts by the length of the range.
import { useState } from 'preact/hooks';
import { go, type Place, place } from '../state/place';
import { zone } from '../state/settings';
import { absoluteTime, full, RANGES, rangeName, resolve, written, zoneName } from '../text/time';
import { Icon } from '../ui/icons';
import { Menu } from '../ui/menu';
import { current } from './results';

const HOUR_MS = 3_600_000;

/** The range in milliseconds since 1970, as it is now. */
export function resolved({ from, to }: Pick<Place, 'from' | 'to'>, now = Date.now()): { from: number; to: number } {
  const end = to === '' ? now : (resolve(to, now) ?? now);
  const counted = current.peek()?.stats.peek();
  const start = from === '' ? Date.parse(counted?.from ?? '') || end - HOUR_MS : (resolve(from, now) ?? end - HOUR_MS);
  return { from: Math.min(start, end), to: end };
}

/** The same range in absolute times, for a link to another person. */
export function absolute(shown: Place): Place {
  const results = current.peek();
  const now = results?.startedAt ?? Date.now();
  const iso = (text: string) => absoluteTime(text, now) ?? text;
  return { ...shown, from: iso(shown.from), to: iso(shown.to === '' ? 'now' : shown.to) };
}

/** Moves the range by its own length. */
export function shift(direction: -1 | 1): void {
  const range = resolved(place.peek());
  const length = range.to - range.from;
  const iso = (time: number) => new Date(time).toISOString();
  go({ from: iso(range.from + direction * length), to: iso(range.to + direction * length) });
}

/** Makes the range three times as long, around its middle. */
function widen(): void {
  const range = resolved(place.peek());
  const length = Math.max(1_000, range.to - range.from);
  const end = Math.min(range.to + length, Math.max(Date.now(), range.to));
  go({ from: new Date(range.from - length).toISOString(), to: new Date(end).toISOString() });
}

export function TimeRange() {
  const { from, to } = place.value;
  return (
    <div class="time-range">
      <button type="button" class="icon-button" aria-label="Earlier" title="Earlier  [" onClick={() => shift(-1)}><Icon name="left" /></button>
      <Menu label={`Range of time: ${rangeName(from, to, zone.value)}`} class="range-menu" face={<><Icon name="clock" /><span class="range-name">{rangeName(from, to, zone.value)}</span></>}>
        {(close) => <RangePanel close={close} />}
      </Menu>
      <button type="button" class="icon-button" aria-label="Later" title="Later  ]" onClick={() => shift(1)}><Icon name="right" /></button>
    </div>
  );
}

function RangePanel({ close }: { close: () => void }) {
  const shown = place.value;
  const initial = (text: string) => (/^\d/.test(text) && resolve(text, Date.now()) !== undefined ? full(new Date(resolve(text, Date.now()) ?? 0), zone.value) : text);
  const [from, setFrom] = useState(initial(shown.from));
  const [to, setTo] = useState(initial(shown.to));
  const times = [written(from, zone.value), written(to, zone.value)] as const;
  const choose = (range: Partial<Place>) => {
    go(range);
    close();
  };
  return (
    <div class="range-panel">
      <ul>
        {RANGES.map((range) => (
          <li key={range.from}>
            <button type="button" class={`menu-item ${shown.from === range.from && shown.to === '' ? 'on' : ''}`} onClick={() => choose({ from: range.from, to: '' })}>{range.label}</button>
          </li>
        ))}
      </ul>
      <form onSubmit={(event) => {
        event.preventDefault();
        if (times[0] !== undefined && times[1] !== undefined) choose({ from: times[0], to: times[1] });
      }}>
        <label>From<input value={from} spellcheck={false} aria-invalid={times[0] === undefined} placeholder="all" onInput={(event) => setFrom(event.currentTarget.value)} /></label>
        <label>To<input value={to} spellcheck={false} aria-invalid={times[1] === undefined} placeholder="now" onInput={(event) => setTo(event.currentTarget.value)} /></label>
        <p class="fine">Such as 2026-11-24 21:20, -2h or now-15m. Times are in {zoneName(zone.value)}.</p>
        <button type="submit" class="primary" disabled={times.includes(undefined)}>Apply</button>
        <button type="button" onClick={() => { widen(); close(); }}>Widen the range</button>
      </form>
    </div>
  );
}
