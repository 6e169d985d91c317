// The fields of an event: those of its own, and the members of its metadata under their dotted names.
import type { StoredEvent } from '../api/client';
import { ExactNumber } from '../api/exact-json';
import type { Value } from '../explore/query';
import { EVENT_FIELDS } from '../explore/query';

export interface Field {
  readonly name: string;
  readonly values: readonly Value[];
}

/** More members than a person reads; the rest is in the JSON. */
const FIELDS_MAX = 500;
const DEPTH_MAX = 16;

function scalar(value: unknown): Value | undefined {
  if (typeof value === 'string') return { text: value, type: 'text' };
  if (typeof value === 'number' || value instanceof ExactNumber) return { text: String(value), type: 'number' };
  if (typeof value === 'boolean') return { text: String(value), type: 'text' };
  return value === null ? { text: 'null', type: 'text' } : undefined;
}

/** The members of metadata, flat. An array of scalars is one field with several values. */
export function metadataFields(metadata: Record<string, unknown> | undefined): Field[] {
  const fields: Field[] = [];
  const add = (name: string, value: unknown, depth: number) => {
    if (fields.length >= FIELDS_MAX) return;
    const one = scalar(value);
    if (one) fields.push({ name, values: [one] });
    else if (Array.isArray(value)) {
      const values = value.map((element) => scalar(element) ?? { text: JSON.stringify(element), type: 'text' as const });
      fields.push({ name, values: values.length > 0 ? values : [{ text: '[]', type: 'text' }] });
    } else if (typeof value === 'object' && value !== null && depth < DEPTH_MAX) {
      for (const [member, inner] of Object.entries(value)) add(`${name}.${member}`, inner, depth + 1);
    }
  };
  for (const [name, value] of Object.entries(metadata ?? {})) add(EVENT_FIELDS.includes(name) ? `metadata.${name}` : name, value, 0);
  return fields;
}

/** What a column shows of an event: the text of a field, or nothing. */
export function columnText(event: StoredEvent, column: string): string {
  const own = EVENT_FIELDS.includes(column) ? (event as unknown as Record<string, unknown>)[column] : undefined;
  const value = own ?? member(event.metadata, column.startsWith('metadata.') ? column.slice('metadata.'.length) : column);
  if (value === undefined || value === null) return '';
  return scalar(value)?.text ?? JSON.stringify(value);
}

/** `a.b` is the member `a.b`, or without one the member `b` of `a`. */
function member(object: unknown, path: string): unknown {
  if (typeof object !== 'object' || object === null || Array.isArray(object)) return undefined;
  const members = object as Record<string, unknown>;
  if (Object.hasOwn(members, path)) return members[path];
  for (let dot = path.indexOf('.'); dot > 0; dot = path.indexOf('.', dot + 1)) {
    const head = path.slice(0, dot);
    if (Object.hasOwn(members, head)) return member(members[head], path.slice(dot + 1));
  }
  return undefined;
}
