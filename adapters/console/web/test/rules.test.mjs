// The rules of the console that need no browser.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import test from 'node:test';
import { load, random } from './load.mjs';

const { parseExactly, ExactNumber } = await load('api/exact-json.ts');
const { pieces, plain } = await load('text/pieces.ts');
const { condition, negated, withCondition, combined, searchedTexts, written } = await load('explore/query.ts');
const { EventStreamReader } = await load('tail/event-stream.ts');
const { absoluteTime, exact, justAfter, resolve } = await load('text/time.ts');
const { short, duration, bytes } = await load('text/numbers.ts');
const { batches, formatOf } = await load('send/batches.ts');
const { blocks } = await load('text/markdown.ts');
const { metadataFields, columnText } = await load('event/fields.ts');

// Node.js 20 does not tell a reviver the text of a number; the case `exact-numbers` of tests/console has it in a browser.
let told = false;
JSON.parse('1', (_key, value, context) => { told = context !== undefined; return value; });

test('numbers keep their digits', { skip: !told }, () => {
  const { a, b, c, d } = parseExactly('{"a":12345678901234567890,"b":0.30000000000000004,"c":[1.5,-7],"d":"12345678901234567890"}');
  assert.ok(a instanceof ExactNumber);
  assert.equal(String(a), '12345678901234567890');
  assert.equal(b, 0.30000000000000004);
  assert.deepEqual(c, [1.5, -7]);
  assert.equal(d, '12345678901234567890');
});

test('no piece has a control character, and texts without one stay as they are', () => {
  const next = random(7);
  const alphabet = ['a', 'é', '\u{1f600}', ' ', '\n', '\t', '\u001b', '[', '3', '1', 'm', ';', ']', '\u0007', '\u202e', '\u2066', '\u0000', '\r', '\u200b', '\\', '\u009b'];
  for (let run = 0; run < 3_000; run += 1) {
    const text = Array.from({ length: 1 + Math.floor(next() * 30) }, () => alphabet[Math.floor(next() * alphabet.length)]).join('');
    const shown = pieces(text).filter((piece) => piece.kind === 'text').map((piece) => piece.text).join('');
    assert.doesNotMatch(shown, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2066-\u2069]/, JSON.stringify(text));
    if (!/[\u0000-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2066-\u2069]/.test(text.replace(/[\n\t]/g, ''))) assert.equal(shown, text);
  }
  assert.equal(plain('user \u202egnp.exe'), 'user U+202Egnp.exe');
  assert.deepEqual(pieces('\u001b[31mred\u001b[0m plain'), [{ kind: 'text', text: 'red', classes: 'ansi-1' }, { kind: 'text', text: ' plain', classes: '' }]);
});

test('the number of pieces is bounded', () => {
  const found = pieces('\u0001\u001b[31mx'.repeat(100_000));
  assert.ok(found.length <= 2_002);
  assert.doesNotMatch(found.at(-1).text, /\u0001|\u001b/);
});

test('values are written so that they are values', () => {
  assert.equal(condition('source', 'checkout-eu'), 'source:checkout-eu');
  assert.equal(condition('source', 'a b'), 'source:"a b"');
  assert.equal(condition('user id', '7'), '"user id":7');
  assert.equal(condition('path', 'C:\\a "b"'), 'path:"C:\\\\a \\"b\\""');
  assert.equal(condition('word', 'OR'), 'word:"OR"');
  assert.equal(condition('word', 'a*'), 'word:"a*"');
  assert.equal(condition('n', '-5', 'number'), 'n:-5');
  assert.equal(condition('n', '-5', 'text'), 'n:"-5"');
  assert.match(condition('long', 'x y'.repeat(100)), /^long:x\\ yx.*\*$/);
});

test('a condition and its opposite replace each other', () => {
  assert.equal(negated(negated('a:b')), 'a:b');
  assert.deepEqual(withCondition(['a:b', 'c:d'], '-a:b'), ['c:d', '-a:b']);
  assert.equal(combined({ query: 'x OR y', where: ['a:b'] }), '(x OR y) a:b');
  assert.equal(combined({ query: ' x ', where: [] }), 'x');
});

test('texts that are looked for are found in a query', () => {
  assert.deepEqual(searchedTexts('timeout "card declined" -not level:ERROR userId:12345 AND NOT gone message:refused'), ['timeout', 'card declined', 'refused']);
  assert.deepEqual(searchedTexts('time* (http OR "a \\"b\\"")'), ['time', 'http', 'a "b"']);
  assert.deepEqual(searchedTexts('"C:\\Temp" "D:\\\\x"'), ['C:\\Temp', 'D:\\x']);
});

test('a stream is read the same, however it is divided', () => {
  const text = 'id: 1\ndata: {"a":1}\n\n: comment\nid: 2\nevent: missed\ndata: {"events":3}\n\nid: 9\n\ndata: x\r\ndata: y\r\n\r\n';
  const whole = new EventStreamReader().push(text);
  assert.deepEqual(whole, [
    { name: '', data: '{"a":1}', id: '1' }, { name: 'missed', data: '{"events":3}', id: '2' }, { name: '', data: '', id: '9' }, { name: '', data: 'x\ny', id: undefined },
  ]);
  const next = random(3);
  for (let run = 0; run < 500; run += 1) {
    const reader = new EventStreamReader();
    const read = [];
    for (let at = 0; at < text.length; ) {
      const length = 1 + Math.floor(next() * 12);
      read.push(...reader.push(text.slice(at, at + length)));
      at += length;
    }
    assert.deepEqual(read, whole);
  }
});

test('a line of a stream is bounded', () => {
  const reader = new EventStreamReader();
  assert.throws(() => { for (let part = 0; part < 40; part += 1) reader.push('x'.repeat(1024 * 1024)); }, /too long/);
});

test('times of the API are understood', () => {
  const now = Date.parse('2026-11-24T12:00:00Z');
  assert.equal(resolve('-15m', now), now - 900_000);
  assert.equal(resolve('now-1d', now), now - 86_400_000);
  assert.equal(resolve('1705314600000', now), 1_705_314_600_000);
  assert.equal(resolve('1705314600', now), 1_705_314_600_000);
  assert.equal(resolve('2024-01-15', now), Date.parse('2024-01-15T00:00:00Z'));
  assert.equal(resolve('yesterday', now), undefined);
});

test('absolute times keep their digits, and an end leaves out no event of its time', () => {
  const now = Date.parse('2026-11-24T21:20:05.199Z');
  assert.equal(absoluteTime('2026-11-24T21:20:05.199341Z', now), '2026-11-24T21:20:05.199341Z');
  assert.equal(absoluteTime('-1h', now), '2026-11-24T20:20:05.199Z');
  assert.equal(absoluteTime('1795555205199', now), '2026-11-24T21:20:05.199Z');
  assert.equal(absoluteTime('', now), undefined);
  assert.equal(justAfter('2026-11-24T21:20:05.199341Z'), '2026-11-24T21:20:05.200Z');
});

test('times of events have three digits at least', () => {
  assert.deepEqual(['05Z', '05.5Z', '05.199341Z'].map((end) => exact(`2026-11-24T21:20:${end}`, 'utc')), ['2026-11-24 21:20:05.000', '2026-11-24 21:20:05.500', '2026-11-24 21:20:05.199341']);
});

test('amounts are short', () => {
  assert.deepEqual([0, 999, 1_000, 17_650, 999_600, 1_234_567].map(short), ['0', '999', '1 k', '17.6 k', '1 M', '1.2 M']);
  assert.deepEqual([0.0125, 3, 93, 3_600, 90_061].map(duration), ['13 ms', '3 s', '1 min 33 s', '1 h', '1 d 1 h']);
  assert.deepEqual([512, 1_536, 2 ** 31].map(bytes), ['512 B', '1.5 KiB', '2 GiB']);
});

test('a text is sent as a whole, whatever its size', () => {
  const next = random(11);
  for (const lines of [1, 10, 4_999, 5_000, 5_001, 12_345]) {
    const text = Array.from({ length: lines }, (_, line) => (next() < 0.2 ? `\tat frame ${line}` : `line ${line}`)).join('\n');
    const sent = [...batches(text, 'lines')];
    assert.equal(sent.map((batch) => batch.body).join(''), text);
    assert.equal(sent.reduce((sum, batch) => sum + batch.lines, 0), lines);
    assert.ok(sent.every((batch) => batch.lines <= 10_000));
    // No request begins within an event.
    assert.ok(sent.slice(1).every((batch) => !/^[\t ]/.test(batch.body)));
  }
  assert.deepEqual(['[1]', '{"a":1}\n{"b":2}', '{\n"a":1}', '[error] x', 'plain'].map(formatOf), ['json', 'json lines', 'json', 'lines', 'lines']);
});

test('members of metadata are found as searches find them', () => {
  const metadata = { http: { status: 502 }, 'http.method': 'POST', tags: ['a', 1], level: 'deep', empty: null };
  assert.deepEqual(metadataFields(metadata).map((field) => field.name), ['http.status', 'http.method', 'tags', 'metadata.level', 'empty']);
  const event = { source: 's', level: 'INFO', message: 'm', metadata };
  assert.deepEqual(['http.status', 'http.method', 'tags', 'metadata.level', 'level', 'none'].map((column) => columnText(event, column)), ['502', 'POST', '["a",1]', 'deep', 'INFO', '']);
});

test('runbooks are understood as a whole', async () => {
  assert.deepEqual(blocks('# a (b)\n\n**Do** `x` [y](y.md)\nmore\n\n* one\n  two\n* three\n\n```sh\ncode |\n```\n\n| a | b |\n|---|---|\n| c | d |'), [
    { kind: 'heading', level: 1, content: [{ kind: 'text', text: 'a (b)' }] },
    { kind: 'paragraph', content: [{ kind: 'bold', text: 'Do' }, { kind: 'text', text: ' ' }, { kind: 'code', text: 'x' }, { kind: 'text', text: ' ' }, { kind: 'link', text: 'y', target: 'y.md' }, { kind: 'text', text: ' more' }] },
    { kind: 'list', numbered: false, items: [[{ kind: 'text', text: 'one two' }], [{ kind: 'text', text: 'three' }]] },
    { kind: 'code', text: 'code |' },
    { kind: 'table', rows: [[[{ kind: 'text', text: 'a' }], [{ kind: 'text', text: 'b' }]], [[{ kind: 'text', text: 'c' }], [{ kind: 'text', text: 'd' }]]] },
  ]);
  // Every word of every runbook is shown.
  const folder = new URL('../../../../docs/runbooks/', import.meta.url);
  const words = (text) => text.match(/[\p{L}\p{N}]+/gu) ?? [];
  for (const name of await readdir(folder)) {
    const markdown = await readFile(new URL(name, folder), 'utf8');
    const shown = words(JSON.stringify(blocks(markdown)));
    const missing = words(markdown.replace(/```\w*/g, '').replace(/^\d+\. /gm, '').replace(/\]\([^)]*\)/g, ']')).filter((word) => !shown.some((one) => one.endsWith(word)));
    assert.deepEqual(missing, [], name);
  }
});

test('what is being written in the search box is known', () => {
  const at = (text) => written(text.replace('|', ''), text.indexOf('|'));
  assert.deepEqual(at('lev|'), { start: 0, field: undefined, part: 'lev' });
  assert.deepEqual(at('timeout -http.st| x'), { start: 9, field: undefined, part: 'http.st' });
  assert.deepEqual(at('(source:check|)'), { start: 1, field: 'source', part: 'check' });
  assert.deepEqual(at('level:|'), { start: 0, field: 'level', part: '' });
  assert.equal(at('"lev|'), undefined);
  assert.equal(at('le|vel'), undefined);
});
