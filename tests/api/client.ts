// Uses the API through types generated from its document, as a user's program would.
// Usage: node client.js BASE_URL
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./spillway.js";

type LogEvent = components["schemas"]["LogEvent"];
type StoredEvent = components["schemas"]["StoredEvent"];
type Conditions = NonNullable<paths["/api/logs"]["get"]["parameters"]["query"]>;
type ContextOptions = NonNullable<paths["/api/logs/{eventId}/context"]["get"]["parameters"]["query"]>;
type StatsOptions = NonNullable<paths["/api/logs/stats"]["get"]["parameters"]["query"]>;
type ExportOptions = NonNullable<paths["/api/logs/export"]["get"]["parameters"]["query"]>;
type TailConditions = NonNullable<paths["/api/logs/tail"]["get"]["parameters"]["query"]>;

const WAIT_MS_MAX = 15_000;
const MINUTE_MS = 60_000;
// A separate hour, so that the counts of the statistics are exact whatever else is stored.
const HOUR = Date.UTC(2001, 1, 3, 5);
const source = `typescript-${randomUUID()}`;
const traceId = randomUUID().replaceAll("-", "");

const baseUrl = process.argv[2];
assert.ok(baseUrl, "usage: client.js BASE_URL");
const client = createClient<paths>({ baseUrl });

function minute(n: number): string {
  return new Date(HOUR + n * MINUTE_MS).toISOString();
}

// Polls until the probe finds something: an event is stored shortly after its 202.
async function eventually<T>(probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + WAIT_MS_MAX;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    assert.ok(Date.now() < deadline, "nothing found in time");
    await setTimeout(10);
  }
}

async function post(event: LogEvent): Promise<string> {
  const { data, error } = await client.POST("/api/logs", { body: event });
  assert.ok(data, error?.detail);
  assert.equal(data.status, "Accepted");
  return data.eventId;
}

async function checkSingle(): Promise<string> {
  const eventId = randomUUID();
  const event: LogEvent = {
    source,
    level: "error",
    message: "Payment REFUSED: straße",
    eventId,
    timestamp: minute(1),
    traceId,
    metadata: { userId: "12345" },
  };
  const { data, error, response } = await client.POST("/api/logs", { body: event });
  assert.ok(data, error?.detail);
  assert.equal(response.status, 202);
  assert.equal(data.eventId, eventId);
  assert.equal(data.durability, "acknowledged", "an ERROR is acknowledged by the bus before its 202");

  const found = await eventually(
    async () => (await client.GET("/api/logs/{eventId}", { params: { path: { eventId } } })).data,
  );
  assert.equal(found.eventId, eventId);
  assert.equal(found.level, "ERROR");
  assert.equal(found.message, event.message);
  assert.equal(Date.parse(found.timestamp), HOUR + MINUTE_MS);
  assert.deepEqual(found.metadata, { userId: "12345" });
  return eventId;
}

async function checkBatches(): Promise<number> {
  const events: LogEvent[] = [
    { source, level: "INFO", message: "first", timestamp: minute(2) },
    { source, level: "LOUD", message: "second", timestamp: minute(3) },
    { source, level: "WARNING", message: "third", timestamp: minute(4) },
  ];
  const array = await client.POST("/api/logs/batch", { body: events });
  const lines = await client.POST("/api/logs/batch", {
    body: `${JSON.stringify({ source, level: "INFO", message: "fourth", timestamp: minute(5) })}\n{"source":\n`,
    bodySerializer: (body) => body as string,
    headers: { "Content-Type": "application/x-ndjson" },
  });
  let accepted = 0;
  for (const [{ data, error }, failure, good] of [
    [array, { index: 1, code: "level_unknown", retryable: false }, 2],
    [lines, { index: 1, code: "line_invalid", retryable: false }, 1],
  ] as const) {
    assert.ok(data, error?.detail);
    assert.deepEqual([data.accepted, data.failed], [good, 1]);
    const { acknowledged, journaled, buffered } = data.durability;
    assert.equal(acknowledged + journaled + buffered, good);
    const failures = data.errors.map(({ index, code, retryable }) => ({ index, code, retryable }));
    assert.deepEqual(failures, [failure]);
    accepted += data.accepted;
  }
  return accepted;
}

async function page(conditions: Conditions): Promise<components["schemas"]["EventPage"]> {
  const { data, error } = await client.GET("/api/logs", { params: { query: { source: [source], ...conditions } } });
  assert.ok(data, error?.detail);
  return data;
}

async function messages(conditions: Conditions): Promise<string[]> {
  return (await page(conditions)).events.map((event) => event.message);
}

async function checkQuery(errorId: string): Promise<StoredEvent[]> {
  const events = await eventually(async () => {
    const { events } = await page({});
    return events.length === 4 ? events : undefined;
  });
  assert.deepEqual(events.map((event) => event.level), ["INFO", "WARN", "INFO", "ERROR"], "newest first");
  assert.deepEqual(await messages({ level: ["INFO", "WARN"] }), ["fourth", "third", "first"]);
  assert.deepEqual(await messages({ level: ["WARN+"], q: "third" }), ["third"]);
  assert.deepEqual((await page({ q: "refused: STRASSE" })).events.map((event) => event.eventId), [errorId]);
  assert.deepEqual((await page({ traceId })).events.map((event) => event.eventId), [errorId]);
  assert.deepEqual(await messages({ from: minute(2), to: minute(4) }), ["first"], "from is inclusive, to exclusive");
  const [from, to] = [String(HOUR + 2 * MINUTE_MS), String(HOUR + 4 * MINUTE_MS)];
  assert.deepEqual(await messages({ from, to }), ["first"], "milliseconds since 1970");
  assert.deepEqual(await messages({ from: "-1h", to: "now" }), [], "the events are older than an hour");

  const paged: StoredEvent[] = [];
  let cursor: string | null | undefined;
  do {
    const following = await page({ limit: 3, ...(cursor ? { cursor } : {}) });
    paged.push(...following.events);
    cursor = following.nextCursor;
  } while (cursor);
  assert.deepEqual(paged, events, "pages neither lose nor repeat events");

  const refused = await client.GET("/api/logs", { params: { query: { limit: 0 } } });
  assert.deepEqual([refused.response.status, refused.error?.code], [400, "invalid_parameter"]);
  const absent = await client.GET("/api/logs/{eventId}", { params: { path: { eventId: randomUUID() } } });
  assert.deepEqual([absent.response.status, absent.error?.code], [404, "not_found"]);
  return events;
}

async function checkLanguage(errorId: string): Promise<void> {
  const query = 'userId:12345 AND level>=WARN AND "refused: STRASSE"';
  assert.deepEqual((await page({ query })).events.map((event) => event.eventId), [errorId]);
  const others = await messages({ query: "NOT level:ERROR", order: "asc" });
  assert.deepEqual(others, ["first", "third", "fourth"], "oldest first");
  const refused = await client.GET("/api/logs", { params: { query: { query: "level:LOUD" } } });
  assert.deepEqual([refused.response.status, refused.error?.code], [400, "query_invalid"]);
  assert.match(refused.error?.detail ?? "", /^query at character 7: expected /);
}

async function context(eventId: string, query: ContextOptions): Promise<components["schemas"]["EventContext"]> {
  const { data, error } = await client.GET("/api/logs/{eventId}/context", { params: { path: { eventId }, query } });
  assert.ok(data, error?.detail);
  return data;
}

async function checkContext(events: StoredEvent[]): Promise<void> {
  const [fourth, third, first, failed] = events;
  assert.ok(first);
  const { beforeCursor, afterCursor, ...neighbours } = await context(first.eventId, {});
  assert.deepEqual(neighbours, { before: [failed], event: first, after: [third, fourth] });
  assert.ok(!beforeCursor && !afterCursor, "there are no further events of this source");

  const alone = await context(first.eventId, { before: 0, after: 1 });
  assert.deepEqual([alone.before, alone.event, alone.after], [[], first, [third]]);
  assert.ok(alone.beforeCursor && alone.afterCursor);
  assert.deepEqual((await page({ cursor: alone.beforeCursor })).events, [failed], "a cursor continues before the events");
  assert.deepEqual((await page({ cursor: alone.afterCursor })).events, [fourth], "and after them");

  const params = { path: { eventId: first.eventId }, query: { scope: "traceId" } } as const;
  const refused = await client.GET("/api/logs/{eventId}/context", { params });
  assert.deepEqual([refused.response.status, refused.error?.code], [400, "invalid_parameter"], "it belongs to no trace");
}

async function checkFields(): Promise<void> {
  const fields = await client.GET("/api/logs/fields", { params: { query: { source: [source] } } });
  assert.ok(fields.data, fields.error?.detail);
  const expected = [{ name: "traceId", events: 1 }, { name: "userId", events: 1 }];
  assert.deepEqual(fields.data, { events: 4, complete: true, fields: expected });

  const query = { source: [source], field: "userId", from: minute(0), to: minute(6) };
  const values = await client.GET("/api/logs/values", { params: { query } });
  assert.ok(values.data, values.error?.detail);
  assert.deepEqual([values.data.field, values.data.other], ["userId", 0]);
  assert.deepEqual(values.data.values, [{ value: "12345", events: 1 }]);
}

async function stats(query: StatsOptions): Promise<components["schemas"]["LogStats"]> {
  const range = { from: minute(0), to: minute(6), interval: "1m" };
  const { data, error } = await client.GET("/api/logs/stats", { params: { query: { ...range, ...query } } });
  assert.ok(data, error?.detail);
  return data;
}

async function checkStats(): Promise<number> {
  const data = await stats({});
  assert.deepEqual([data.by, data.other], ["level", 0]);
  assert.deepEqual(data.total, { TRACE: 0, DEBUG: 0, INFO: 2, WARN: 1, ERROR: 1, FATAL: 0 });
  assert.equal(data.intervalSeconds, 60);
  assert.deepEqual(data.buckets.map((bucket) => Date.parse(bucket.start)), [0, 1, 2, 3, 4, 5].map((n) => HOUR + n * MINUTE_MS));
  assert.deepEqual(data.buckets.map((bucket) => bucket.counts.INFO), [0, 0, 1, 0, 0, 1]);

  const bySource = await stats({ query: "level>=WARN", by: "source", sparse: true });
  assert.deepEqual([bySource.by, bySource.total, bySource.other], ["source", { [source]: 2 }, 0]);
  const counts = bySource.buckets.map((bucket) => [Date.parse(bucket.start), bucket.counts[source]]);
  assert.deepEqual(counts, [[HOUR + MINUTE_MS, 1], [HOUR + 4 * MINUTE_MS, 1]], "without empty buckets");
  return data.buckets.length;
}

async function exported(options: ExportOptions): Promise<string> {
  const query = { source: [source], ...options };
  const { data, error } = await client.GET("/api/logs/export", { params: { query }, parseAs: "text" });
  assert.ok(data, error?.detail);
  return data;
}

async function checkExport(events: StoredEvent[]): Promise<number> {
  const lines = (await exported({ order: "asc" })).split("\n");
  assert.equal(lines.pop(), "", "each line ends with a newline");
  assert.deepEqual(lines.map((line) => JSON.parse(line) as StoredEvent), [...events].reverse(), "oldest first");
  const [columns, ...records] = (await exported({ format: "csv" })).trimEnd().split("\r\n");
  assert.match(columns ?? "", /^timestamp,level,source,message,eventId,/);
  assert.equal(records.length, events.length);
  return lines.length;
}

interface Tailed {
  position: number;
  eventId: string;
}

// Opens a tail, lets `use` read from it, and closes it.
async function withTail<T>(
  conditions: TailConditions,
  lastEventId: number | undefined,
  use: (next: () => Promise<Tailed>) => Promise<T>,
): Promise<T> {
  const left = new AbortController();
  const signal = AbortSignal.any([left.signal, AbortSignal.timeout(WAIT_MS_MAX)]);
  const { data, response } = await client.GET("/api/logs/tail", {
    params: {
      query: { source: [source], ...conditions },
      ...(lastEventId === undefined ? {} : { header: { "Last-Event-ID": lastEventId } }),
    },
    parseAs: "stream",
    signal,
  });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("Content-Type") ?? "", /^text\/event-stream/);
  assert.ok(data);
  const events = eventsOf(data);
  try {
    return await use(async () => {
      const { value } = await events.next();
      assert.ok(value, "the server ended the tail");
      return value;
    });
  } finally {
    left.abort();
  }
}

async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Tailed, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let position = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return undefined;
    text += decoder.decode(value, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map((line): [string, string] => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
      }));
      position = Number(fields.get("id") ?? position);
      const json = fields.get("data");
      if (json === undefined) continue;
      const event = JSON.parse(json) as StoredEvent;
      assert.equal(event.source, source);
      yield { position, eventId: event.eventId };
    }
  }
}

async function checkTail(): Promise<number> {
  const event: LogEvent = { source, level: "FATAL", message: "tailed" };
  const level = ["FATAL"];
  const [first, position] = await withTail({ level }, undefined, async (next) => {
    await post({ source, level: "DEBUG", message: "not for this tail" });
    const eventId = await post(event);
    const seen = await next();
    assert.equal(seen.eventId, eventId, "an open tail delivers what is posted");
    return [eventId, seen.position] as const;
  });
  const second = await post(event);
  const third = await withTail({ level }, position, async (next) => {
    assert.equal((await next()).eventId, second, "a resumed tail begins after the last event seen");
    const eventId = await post(event);
    assert.equal((await next()).eventId, eventId, "and delivers each event once");
    return eventId;
  });
  return new Set([first, second, third]).size;
}

const errorId = await checkSingle();
const batch = await checkBatches();
const events = await checkQuery(errorId);
await checkLanguage(errorId);
await checkContext(events);
await checkFields();
const buckets = await checkStats();
const lines = await checkExport(events);
const tailed = await checkTail();
console.log(
  `TypeScript client: 1 event and ${batch} of batches accepted, ${events.length} found, ${buckets} buckets, ` +
    `${lines} exported, ${tailed} tailed`,
);
