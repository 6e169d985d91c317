// Pasted or dropped text, divided into requests.
//
// `POST /api/logs/ingest` reads lines in many formats, and JSON (docs/protocols.md). A request has at most 10,000 events and 16 MiB;
// lines are sent in smaller ones, so that progress is seen.
export interface Batch {
  readonly body: string;
  /** The number of its first line, from 0. */
  readonly firstLine: number;
  readonly lines: number;
}

const LINES_MAX = 5_000;
const CHARACTERS_MAX = 2 * 1024 * 1024;
/** Files of logs that are larger go through `spillway send`, which needs no memory for them. */
export const TEXT_BYTES_MAX = 64 * 1024 * 1024;

export type Format = 'lines' | 'json lines' | 'json';

export function formatOf(text: string): Format {
  const start = text.trimStart();
  if (start.startsWith('[')) return isJson(start) ? 'json' : 'lines';
  if (!start.startsWith('{')) return 'lines';
  const end = start.indexOf('\n');
  return end < 0 || isJson(start.slice(0, end)) ? 'json lines' : 'json';
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The requests for a text, in order. A JSON document stays whole. */
export function* batches(text: string, format: Format): Generator<Batch> {
  if (format === 'json') {
    yield { body: text, firstLine: 0, lines: 1 };
    return;
  }
  let [begin, at, lines, firstLine] = [0, 0, 0, 0];
  while (at < text.length) {
    const newline = text.indexOf('\n', at);
    const next = newline < 0 ? text.length : newline + 1;
    // A line that is indented belongs to the event before it, such as a stack trace: it stays in the same request.
    const continues = format === 'lines' && /[\t ]/.test(text[next] ?? '');
    lines += 1;
    at = next;
    if ((lines >= LINES_MAX || at - begin >= CHARACTERS_MAX) && !(continues && lines < 2 * LINES_MAX) || at >= text.length) {
      const body = text.slice(begin, at);
      if (body.trim() !== '') yield { body, firstLine, lines };
      firstLine += lines;
      [begin, lines] = [at, 0];
    }
  }
}
