// Conditions of the query language (docs/search.md), and what a search sends to the API.
import type { Parameters } from '../api/client';
import type { Place } from '../state/place';

/** Fields of an event that are not members of its metadata. */
export const EVENT_FIELDS = ['source', 'level', 'message', 'stackTrace', 'timestamp', 'receivedAt', 'eventId', 'traceId', 'spanId'];

const PLAIN_NAME = /^[A-Za-z_@$][\w@$.\-/]*$/;
const PLAIN_VALUE = /^[A-Za-z0-9_][\w@$./-]*$/;
const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/;
const OPERATORS = ['AND', 'OR', 'NOT', 'and', 'or', 'not', 'null'];
/** Values of `GET /api/logs/values` are cut to this length. */
const VALUE_BYTES_MAX = 256;

/** A field's name as the language takes it. */
function name(field: string): string {
  return PLAIN_NAME.test(field) && !OPERATORS.includes(field) ? field : quoted(field);
}

function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** The condition that a field has a value. */
export function condition(field: string, value: string, type: 'text' | 'number' = 'text'): string {
  if (new TextEncoder().encode(value).length >= VALUE_BYTES_MAX) return `${name(field)}:${escaped(value.slice(0, 200))}*`;
  const plain = type === 'number' ? NUMBER.test(value) : PLAIN_VALUE.test(value) && !OPERATORS.includes(value);
  return `${name(field)}:${plain ? value : quoted(value)}`;
}

/** The opposite of a condition. */
export function negated(text: string): string {
  return text.startsWith('-') ? text.slice(1) : `-${text}`;
}

function escaped(text: string): string {
  return text.replace(/[^A-Za-z0-9]/gu, '\\$&');
}

/** The place's conditions with one more; its opposite is removed. */
export function withCondition(where: readonly string[], added: string): string[] {
  return [...where.filter((one) => one !== added && one !== negated(added)), added];
}

/** Box and chips as one query. */
export function combined(place: Pick<Place, 'query' | 'where'>): string {
  const text = place.query.trim();
  if (place.where.length === 0) return text;
  // OR binds weaker than AND: without parentheses the chips would belong to the last alternative only.
  const box = / OR /.test(text) ? `(${text})` : text;
  return [box, ...place.where].filter(Boolean).join(' ');
}

/** The conditions of a place as parameters of the API. */
export function searchParameters(place: Place): Parameters {
  return { query: combined(place), level: place.levels.length > 0 ? [place.levels.join(',')] : [], from: place.from, to: place.to };
}

/** Texts that the box looks for anywhere in an event: they are marked in messages. */
export function searchedTexts(query: string): string[] {
  const texts: string[] = [];
  for (const match of query.matchAll(/(-)?(?:message:)?(?:"((?:[^"\\]|\\.)*)"|([^\s()":<>=]+))(?=[\s)]|$)/g)) {
    const before = query[match.index - 1];
    const word = match[2] === undefined ? match[3] : match[2].replace(/\\(["\\])/g, '$1');
    const negative = match[1] === '-' || /NOT\s+$/.test(query.slice(0, match.index));
    if (word === undefined || word.length < 2 || negative || OPERATORS.includes(word) || (before !== undefined && !/[\s(]/.test(before))) continue;
    texts.push(...word.split('*').filter((part) => part.length > 1));
  }
  return texts.slice(0, 8);
}

/** The part of a query that is being written: a name, or the value of a field. */
export function written(text: string, caret: number): { start: number; field: string | undefined; part: string } | undefined {
  const before = text.slice(0, caret);
  // Not in the middle of a word, and not within quotes.
  if (/^[^\s)]/.test(text.slice(caret)) || (before.match(/(?<!\\)"/g)?.length ?? 0) % 2 === 1) return undefined;
  const match = /(?:^|[\s(])-?(?:([A-Za-z_@$][\w@$.\-/]*):)?([^\s():"<>=]*)$/.exec(before);
  if (!match) return undefined;
  const [, field, part = ''] = match;
  return { start: caret - part.length - (field === undefined ? 0 : field.length + 1), field, part };
}

/** One value of an event, by the name of a column. */
export interface Value {
  readonly text: string;
  readonly type: 'text' | 'number';
}
