// Send: paste lines or drop a file, and see what Spillway answers.
import { useState } from 'preact/hooks';
import { type ApiError, asApiError, type BatchAccepted, type EventFailure, post } from '../api/client';
import { condition } from '../explore/query';
import { follow, href, START } from '../state/place';
import { bytes, counted, grouped } from '../text/numbers';
import { plain } from '../text/pieces';
import { Icon } from '../ui/icons';
import { Failure } from '../ui/notice';
import { batches, type Format, formatOf, TEXT_BYTES_MAX } from './batches';

const ERRORS_SHOWN = 100;
const SAMPLE = `2026-11-24T21:20:05.199Z INFO  payment 4711 started
2026-11-24T21:20:05.412Z WARN  bank answers slowly, attempt 2
2026-11-24T21:20:35.420Z ERROR payment 4711 failed: timeout after 30 s
java.net.SocketTimeoutException: Read timed out
\tat com.example.Bank.call(Bank.java:42)
{"level":"info","message":"the same as JSON","userId":12345}`;

/** What the answers add up to. */
interface Sum {
  accepted: number;
  failed: number;
  acknowledged: number;
  journaled: number;
  buffered: number;
  errors: (EventFailure & { line: number })[];
  since: string;
  done: boolean;
  characters: number;
}

const NOTHING: Sum = { accepted: 0, failed: 0, acknowledged: 0, journaled: 0, buffered: 0, errors: [], since: '', done: false, characters: 0 };

function add(sum: Sum, answer: BatchAccepted, firstLine: number, characters: number): Sum {
  const errors = answer.errors.map((error) => ({ ...error, line: firstLine + error.index + 1 }));
  return {
    accepted: sum.accepted + answer.accepted,
    failed: sum.failed + answer.failed,
    acknowledged: sum.acknowledged + answer.durability.acknowledged,
    journaled: sum.journaled + answer.durability.journaled,
    buffered: sum.buffered + answer.durability.buffered,
    errors: [...sum.errors, ...errors].slice(0, ERRORS_SHOWN),
    since: sum.since || answer.timestamp,
    done: false,
    characters: sum.characters + characters,
  };
}

export function Send() {
  const [text, setText] = useState('');
  const [file, setFile] = useState('');
  const [source, setSource] = useState('pasted');
  const [sum, setSum] = useState<Sum | undefined>();
  const [sending, setSending] = useState(false);
  const [error, setError] = useState<ApiError | undefined>();
  const format = text === '' ? undefined : formatOf(text);

  const take = async (dropped: File | undefined) => {
    if (!dropped) return;
    setError(undefined);
    if (dropped.size > TEXT_BYTES_MAX) {
      setFile(`${dropped.name} has ${bytes(dropped.size)}, more than the page takes (${bytes(TEXT_BYTES_MAX)}). Use: spillway send ${dropped.name}`);
      return;
    }
    setText(await dropped.text());
    setFile(`${dropped.name}, ${bytes(dropped.size)}`);
    setSource(dropped.name.replace(/\.(log|txt|json|ndjson|jsonl)$/i, ''));
    setSum(undefined);
  };
  const send = async () => {
    setSending(true);
    setError(undefined);
    let so = NOTHING;
    setSum(so);
    try {
      for (const batch of batches(text, formatOf(text))) {
        const answer = await post<BatchAccepted>(`/api/logs/ingest?source=${encodeURIComponent(source || 'pasted')}`, batch.body, { 'Content-Type': 'text/plain' });
        so = add(so, answer, batch.firstLine, batch.body.length);
        setSum(so);
      }
    } catch (failure) {
      setError(asApiError(failure));
    }
    setSum({ ...so, done: true });
    setSending(false);
  };

  return (
    <div class="page send">
      <header class="page-head">
        <div>
          <h1>Send</h1>
          <p class="muted">Paste lines or drop a file. Time, level and fields are recognized in common formats and in JSON.</p>
        </div>
      </header>
      <form class="send-form" onSubmit={(event) => { event.preventDefault(); void send(); }}
        onDragOver={(event) => event.preventDefault()} onDrop={(event) => { event.preventDefault(); void take(event.dataTransfer?.files[0]); }}>
        <label class="send-text"><span class="off-screen">Lines to send</span>
          <textarea value={text.length > 200_000 ? `${text.slice(0, 200_000)}` : text} readOnly={text.length > 200_000} spellcheck={false} placeholder={'Paste log lines here, or drop a file\n\n' + SAMPLE}
            onInput={(event) => { setText(event.currentTarget.value); setFile(''); setSum(undefined); }} />
        </label>
        <div class="send-controls">
          <label>Source<input value={source} maxLength={255} onInput={(event) => setSource(event.currentTarget.value)} /></label>
          <label class="button file-button"><Icon name="file" />Choose a file<input type="file" class="off-screen" onChange={(event) => void take(event.currentTarget.files?.[0])} /></label>
          {text === '' && <button type="button" onClick={() => setText(SAMPLE)}>Use an example</button>}
          {text !== '' && <button type="button" onClick={() => { setText(''); setFile(''); setSum(undefined); setError(undefined); }}>Clear</button>}
          <span class="muted send-facts">{file || (format && `${counted(text.trimEnd().split('\n').length, 'line')}, ${describe(format)}`)}</span>
          <button type="submit" class="primary" disabled={text.trim() === '' || sending}>{sending ? 'Sending…' : 'Send'}</button>
        </div>
      </form>
      {error && <Failure error={error} />}
      {sum && (sum.done || sum.accepted > 0) && <Answer sum={sum} length={text.length} source={source || 'pasted'} format={format ?? 'lines'} />}
      {!sum && <OtherWays />}
    </div>
  );
}

function describe(format: Format): string {
  return format === 'lines' ? 'read as text' : format === 'json' ? 'read as a JSON document' : 'read as JSON, one event a line';
}

function Answer({ sum, length, source, format }: { sum: Sum; length: number; source: string; format: Format }) {
  // Sources select by index; what has sources of its own is found by its time of receipt.
  const where = format === 'lines' ? [condition('source', source)] : [`receivedAt>=${sum.since}`];
  const found = { ...START, where, from: format === 'lines' ? '' : '-1h' };
  return (
    <section class="answer" aria-label="Answer" role="status">
      <h2>{sum.done ? `${counted(sum.accepted, 'event')} accepted${sum.failed > 0 ? `, ${grouped(sum.failed)} refused` : ''}` : `${grouped(sum.accepted)} accepted so far`}</h2>
      {!sum.done && <progress max={length} value={sum.characters} aria-label="Sent" />}
      {sum.accepted > 0 && (
        <>
          <dl class="durability">
            <div><dt>acknowledged</dt><dd><strong>{grouped(sum.acknowledged)}</strong><span class="fine">the bus has them on disk</span></dd></div>
            <div><dt>journaled</dt><dd><strong>{grouped(sum.journaled)}</strong><span class="fine">on the disk of the producer</span></dd></div>
            <div><dt>buffered</dt><dd><strong>{grouped(sum.buffered)}</strong><span class="fine">handed over, not yet synced</span></dd></div>
          </dl>
          {sum.done && <a class="button primary" href={href(found)} onClick={follow(found)}>Show them in Explore</a>}
        </>
      )}
      {sum.errors.length > 0 && (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="Refused events">
          <table><thead><tr><th scope="col" class="number">Event</th><th scope="col">Code</th><th scope="col">Why</th></tr></thead>
            <tbody>{sum.errors.map((error) => <tr key={error.line}><td class="number">{grouped(error.line)}</td><td class="mono">{error.code}</td><td>{plain(error.detail)}{error.retryable && <span class="muted"> It may be sent again.</span>}</td></tr>)}</tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function OtherWays() {
  const at = location.origin;
  return (
    <section class="other-ways">
      <h2>From a shell or a program</h2>
      <pre tabIndex={0} aria-label="Commands">{`tail -F /var/log/app.log | spillway send --source app
curl -X POST ${at}/api/logs -H 'Content-Type: application/json' \\
  -d '{"source":"app","level":"ERROR","message":"payment failed","userId":12345}'`}</pre>
      <p class="fine">Agents send by their own protocols: OTLP, Loki, Elasticsearch bulk, Splunk HEC, syslog. docs/protocols.md has their configurations.</p>
    </section>
  );
}
