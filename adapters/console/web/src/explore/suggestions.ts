// What may be written next in the search box: the names of fields, and the values of a field.
//
// Names come from the fields panel; values are asked for when a field and a colon were written, once for each field and range.
import { signal } from '@preact/signals';
import { type FieldValues, get } from '../api/client';
import { LEVELS } from '../api/levels';
import { place } from '../state/place';
import { condition, EVENT_FIELDS, written } from './query';

/** Names of fields that the matching events have. */
export const knownFields = signal<readonly string[]>([]);

export interface Suggestion {
  /** What is shown. */
  readonly label: string;
  /** The text of the box after it is taken, and where the caret is then. */
  readonly text: string;
  readonly caret: number;
}

const SUGGESTIONS_MAX = 8;
const VALUES_MAX = 50;
const FIELDS_KEPT = 20;

function taken(text: string, caret: number, start: number, insert: string): Pick<Suggestion, 'text' | 'caret'> {
  return { text: text.slice(0, start) + insert + text.slice(caret), caret: start + insert.length };
}

/** Names of fields that begin with, or else contain, what is written. */
function names(text: string, caret: number, start: number, part: string): Suggestion[] {
  const small = part.toLowerCase();
  if (small === '') return [];
  const all = [...new Set(['level', 'source', 'message', 'stackTrace', 'traceId', ...knownFields.value, ...EVENT_FIELDS])];
  const ranked = [...all.filter((name) => name.toLowerCase().startsWith(small)), ...all.filter((name) => name.toLowerCase().indexOf(small) > 0)];
  return ranked.slice(0, SUGGESTIONS_MAX).map((name) => {
    // The name as a condition has it, quoted if it must be.
    const insert = condition(name, 'x').replace(/x$/, '');
    return { label: insert, ...taken(text, caret, start, insert) };
  });
}

const kept = new Map<string, Promise<FieldValues>>();

function valuesOf(field: string): Promise<FieldValues> {
  const { from, to } = place.peek();
  const key = JSON.stringify([field, from, to]);
  const known = kept.get(key);
  if (known) return known;
  const asked = get('/api/logs/values', { query: { field, from, to, limit: VALUES_MAX } });
  asked.catch(() => kept.delete(key));
  kept.set(key, asked);
  const oldest = kept.keys().next().value;
  if (kept.size > FIELDS_KEPT && oldest !== undefined) kept.delete(oldest);
  return asked;
}

/** What may follow. A failure to ask for values means that there is nothing to suggest. */
export async function suggest(text: string, caret: number): Promise<Suggestion[]> {
  const at = written(text, caret);
  if (!at) return [];
  const { start, field, part } = at;
  if (field === undefined) return names(text, caret, start, part);
  if (['message', 'stackTrace', 'timestamp', 'receivedAt', 'eventId', 'traceId', 'spanId'].includes(field)) return [];
  const values = field === 'level' ? [...LEVELS].reverse() : await valuesOf(field).then((found) => found.values.map(({ value }) => value), () => []);
  const small = part.toLowerCase();
  return values
    .filter((value) => value.toLowerCase().startsWith(small) && value !== part)
    .slice(0, SUGGESTIONS_MAX)
    .map((value) => {
      const insert = condition(field, value);
      return { label: insert.slice(field.length + 1), ...taken(text, caret, start, `${insert} `) };
    });
}
