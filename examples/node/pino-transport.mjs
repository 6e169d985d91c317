// A transport of pino, without a package: a stream that reads pino's lines of JSON.
//
//     const log = pino({ transport: { target: './pino-transport.mjs', options: { source: 'checkout' } } });
//
// pino runs it in a thread of its own and ends it when the process exits, also after `process.exit`.

import { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { SpillwaySender, stackTraceOf } from './spillway.mjs';

// pino waits 10 s for the thread when the process exits.
const CLOSE_MS = 8_000;
const LINE_CHARS_MAX = 1024 * 1024;
const LEVELS = [[60, 'FATAL'], [50, 'ERROR'], [40, 'WARN'], [30, 'INFO'], [20, 'DEBUG']];

/** Takes the options of SpillwaySender. */
export default function transport(options) {
  const sender = new SpillwaySender({ closeMs: CLOSE_MS, ...options });
  const decoder = new StringDecoder('utf8');
  let rest = '';
  return new Writable({
    decodeStrings: true,
    write(chunk, _encoding, done) {
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop().slice(0, LINE_CHARS_MAX);
      lines.forEach((line) => putLine(sender, line));
      done();
    },
    final(done) {
      putLine(sender, rest + decoder.end());
      sender.close().then(() => done(), done);
    },
  });
}

function putLine(sender, line) {
  if (line.trim() === '') return;
  let object;
  try {
    object = JSON.parse(line);
  } catch {
    object = null;
  }
  if (object === null || typeof object !== 'object') {
    sender.put('INFO', line);
    return;
  }
  const { level, time, msg, err, ...fields } = object;
  const name = LEVELS.find(([least]) => level >= least)?.[1] ?? 'TRACE';
  const error = err === undefined ? {} : { error: { stack: stackTraceOf(err) } };
  sender.put(name, msg ?? err?.message ?? '', { ...fields, ...error }, Number.isFinite(time) ? time : Date.now());
}
