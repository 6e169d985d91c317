// Requests to Spillway, typed by openapi/spillway.json.
//
// Every failure is an `ApiError` whose text can be shown. A 401 also asks for a sign-in, wherever it comes from.
import createClient from 'openapi-fetch';
import { signal } from '@preact/signals';
import { parseExactly } from './exact-json';
import type { components, paths } from './schema';

export type StoredEvent = components['schemas']['StoredEvent'];
export type EventPage = components['schemas']['EventPage'];
export type EventContext = components['schemas']['EventContext'];
export type LogStats = components['schemas']['LogStats'];
export type LogFields = components['schemas']['LogFields'];
export type FieldValues = components['schemas']['FieldValues'];
export type DeadLetter = components['schemas']['DeadLetter'];
export type DeadLetterPage = components['schemas']['DeadLetterPage'];
export type RedriveRequest = components['schemas']['RedriveRequest'];
export type RedriveResult = components['schemas']['RedriveResult'];
export type BatchAccepted = components['schemas']['BatchAccepted'];
export type EventFailure = components['schemas']['EventFailure'];
type Problem = components['schemas']['Problem'];

/** Why a request failed: `code` is stable (docs/api.md), `message` is a text to show. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    detail: string,
    readonly status: number,
    readonly errors: EventFailure[] = [],
  ) {
    super(detail);
  }
}

/** Rises with every answer 401: the session ended, or its key was revoked. */
export const unauthenticated = signal(0);

const client = createClient<paths>({ baseUrl: globalThis.location?.origin ?? '', querySerializer: writeQuery });

/** Parameters of a query. A list becomes a repeated parameter, and what is empty is left out. */
export type Parameters = Record<string, string | number | boolean | readonly string[] | undefined>;

/** Writes parameters as every operation of Spillway takes them. */
export function writeQuery(parameters: Record<string, unknown>): string {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (Array.isArray(value)) for (const one of value) written.append(name, String(one));
    else if (value !== undefined && value !== '') written.append(name, String(value));
  }
  return written.toString();
}

/** The JSON of an answer 200. */
type JsonOf<Operation> = Operation extends { get: { responses: { 200: { content: infer Content } } } }
  ? Content extends { 'application/json': infer T } | { 'application/json; charset=utf-8': infer T }
    ? T
    : never
  : never;
/** The paths that answer a GET with JSON. */
type Readable = { [P in keyof paths]: [JsonOf<paths[P]>] extends [never] ? never : P }[keyof paths];
type Read<P extends Readable> = JsonOf<paths[P]>;

interface GetOptions {
  query?: Parameters;
  path?: Record<string, string>;
  signal?: AbortSignal;
}

/** Sends a GET. Throws `ApiError`, or the `AbortError` of `signal`. */
export async function get<P extends Readable>(path: P, { query = {}, path: inPath = {}, signal }: GetOptions = {}): Promise<Read<P>> {
  // The types of openapi-fetch follow each operation; here one function serves all of them, and `Read` has the answer.
  const send = client.GET as unknown as (path: string, options: object) => Promise<{ data?: string; error?: unknown; response: Response }>;
  const options = { params: { query, path: inPath }, parseAs: 'text', ...(signal ? { signal } : {}) };
  const { data, error, response } = await send(path, options).catch(unreachable);
  if (data === undefined) throw problem(response, error);
  return parseExactly(data) as Read<P>;
}

/** Sends a body by POST and reads the JSON of the answer. */
export async function post<T>(path: string, body: string | undefined, headers: Record<string, string>, signal?: AbortSignal): Promise<T> {
  const response = await fetch(path, { method: 'POST', headers, ...(body === undefined ? {} : { body }), ...(signal ? { signal } : {}) }).catch(unreachable);
  const text = await response.text().catch(unreachable);
  if (!response.ok) throw problem(response, text);
  return (text === '' ? undefined : parseExactly(text)) as T;
}

/** Reads JSON that the document does not describe. */
export async function read<T>(path: string, signal?: AbortSignal): Promise<T> {
  return JSON.parse(await readText(path, signal)) as T;
}

/** Reads a text. */
export async function readText(path: string, signal?: AbortSignal): Promise<string> {
  const response = await fetch(path, signal ? { signal } : {}).catch(unreachable);
  const text = await response.text().catch(unreachable);
  if (!response.ok) throw problem(response, text);
  return text;
}

function unreachable(error: unknown): never {
  if (error instanceof DOMException && error.name === 'AbortError') throw error;
  throw new ApiError('unreachable', 'Spillway does not answer. Check that it runs and that this page reaches it, then try again.', 0);
}

function problem(response: Response, body: unknown): ApiError {
  if (response.status === 401) unauthenticated.value += 1;
  let parsed = body;
  if (typeof body === 'string') {
    try {
      parsed = JSON.parse(body);
    } catch {
      parsed = undefined;
    }
  }
  const known = parsed as Partial<Problem> | undefined;
  if (typeof known?.code === 'string' && typeof known.detail === 'string') {
    return new ApiError(known.code, known.detail, response.status, known.errors);
  }
  return new ApiError('unknown', `The server answered ${response.status} ${response.statusText}`.trim(), response.status);
}

/** Any failure as an `ApiError`; `undefined` for a request that the page itself broke off. */
export function asApiError(error: unknown): ApiError | undefined {
  if (error instanceof ApiError) return error;
  if (error instanceof DOMException && error.name === 'AbortError') return undefined;
  return new ApiError('page', error instanceof Error ? error.message : String(error), 0);
}
