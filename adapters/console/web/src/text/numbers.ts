// Numbers and amounts for people: always in the same form, whatever the browser's language is.
const GROUPED = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** 1234567 as 1,234,567. */
export function grouped(count: number): string {
  return GROUPED.format(count);
}

/** 1234567 as 1.2 M: at most five characters. */
export function short(count: number): string {
  const steps: [number, string][] = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
  for (const [size, unit] of steps) {
    if (Math.abs(count) >= size * 0.9995) return `${digits(count / size)} ${unit}`;
  }
  return Number.isInteger(count) ? String(count) : digits(count);
}

function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(value % 1 >= 0.05 ? 1 : 0) : value.toFixed(1).replace(/\.0$/, '');
}

/** A rate a second. */
export function rate(perSecond: number | null | undefined): string {
  if (perSecond === undefined || perSecond === null) return '–';
  return `${perSecond >= 1000 ? grouped(perSecond) : digits(perSecond)}/s`;
}

/** Bytes in binary units. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : digits(value)} ${units[unit]}`;
}

/** A duration in its two largest units. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${digits(seconds)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const units: [number, string][] = [[86_400, 'd'], [3_600, 'h'], [60, 'min'], [1, 's']];
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, unit] = units[first] ?? [1, 's'];
  const [nextSize, nextUnit] = units[first + 1] ?? [1, 's'];
  const whole = Math.floor(seconds / size);
  const rest = Math.floor((seconds - whole * size) / nextSize);
  return rest > 0 ? `${whole} ${unit} ${rest} ${nextUnit}` : `${whole} ${unit}`;
}

/** A count that may be one of many more. */
export function atLeast({ count, more }: { count: number; more: boolean }): string {
  return `${short(count)}${more ? '+' : ''}`;
}

/** A count with its noun: `1 event`, `2 events`. */
export function counted(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;
}
