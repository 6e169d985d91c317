// Icons: 16 by 16, drawn in the colour of the text. They say nothing on their own: a control has a label.
const PATHS = {
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9Zm3.3 7.8L14 14',
  close: 'M4 4l8 8M12 4l-8 8',
  plus: 'M8 3.5v9M3.5 8h9',
  minus: 'M3.5 8h9',
  column: 'M2.5 3.5h11v9h-11zM6.2 3.5v9M9.8 3.5v9',
  wrap: 'M2.5 4h11M2.5 8h8.5a2.2 2.2 0 0 1 0 4.4H8M9.5 10.7 7.8 12.4l1.7 1.7M2.5 12.4h2.5',
  clock: 'M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11ZM8 5v3.2l2 1.3',
  left: 'M9.8 3.5 5.3 8l4.5 4.5',
  right: 'M6.2 3.5 10.7 8l-4.5 4.5',
  down: 'M3.5 6 8 10.5 12.5 6',
  up: 'M3.5 10 8 5.5l4.5 4.5',
  play: 'M5 3.2v9.6L12.8 8z',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  download: 'M8 2.5v7.8M4.8 7.3 8 10.5l3.2-3.2M3 13.5h10',
  link: 'M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.3-2.3a2.6 2.6 0 0 0-3.7-3.7l-.9.9M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.2 9.1a2.6 2.6 0 0 0 3.7 3.7l.9-.9',
  bookmark: 'M4.5 2.5h7v11L8 10.8l-3.5 2.7z',
  refresh: 'M13 8a5 5 0 1 1-1.5-3.6M13 2.5v3h-3',
  sun: 'M8 5.3a2.7 2.7 0 1 1 0 5.4 2.7 2.7 0 0 1 0-5.4ZM8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9',
  moon: 'M13 9.3A5.5 5.5 0 0 1 6.7 3a5.5 5.5 0 1 0 6.3 6.3Z',
  help: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2ZM6.3 6.3a1.8 1.8 0 1 1 2.5 1.7c-.5.2-.8.6-.8 1.1M8 11.3v.1',
  copy: 'M5.5 5.5h7.5v7.5H5.5zM10.5 5.5V3H3v7.5h2.5',
  fields: 'M2.5 3.5h11v9h-11zM6.5 3.5v9M3.8 6h1.2M3.8 8.3h1.2',
  chart: 'M2.5 13.5h11M4 11V7.5M6.7 11V4M9.4 11V6M12.1 11V8.8',
  trace: 'M2.5 4h6M5.5 8h6M8.5 12h5',
  context: 'M3 3.5h10M3 6h6M3 12.5h10M3 10h6M1.5 8h13',
  user: 'M8 2.5a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2ZM3 13.5c.4-2.7 2.4-4 5-4s4.6 1.3 5 4',
  bottom: 'M8 3v8.5M4.5 8 8 11.5 11.5 8M3 14h10',
  file: 'M4 2.5h5.5L12.5 5.5v8H4zM9.5 2.5v3h3',
  warning: 'M8 2.5 14 13.5H2zM8 6.5v3.5M8 11.8v.1',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark of Spillway: water that passes a weir in steps. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" />
      <path d="M6 9.5h7.5c5 0 4.5 13 9.5 13H26" />
      <path d="M6 15h4.5c3.8 0 3.5 7.5 6.5 7.5" opacity=".62" />
      <path d="M6 20.5h2c1.6 0 1.8 2 3 2" opacity=".34" />
    </svg>
  );
}
