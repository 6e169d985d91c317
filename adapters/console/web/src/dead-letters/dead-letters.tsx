// Dead letters: what cannot be stored, why, and sending it again.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { type ApiError, asApiError, type DeadLetter, type DeadLetterPage, get } from '../api/client';
import { countLetters } from '../pipeline/badge';
import { zone } from '../state/settings';
import { counted } from '../text/numbers';
import { plain } from '../text/pieces';
import { ago, exact, full } from '../text/time';
import { Icon } from '../ui/icons';
import { LogBlock } from '../ui/log-text';
import { Failure, Notice } from '../ui/notice';
import { copy } from '../ui/toast';
import { eventOf, type RedriveScope } from './letters';
import { Redrive } from './redrive';

const PAGE_LETTERS = 50;
/** As many as the page keeps. */
const LETTERS_MAX = 5_000;
/** What a row shows of the message of an event. */
const ROW_CHARACTERS_MAX = 300;
const TEXT_CHARACTERS_MAX = 32 * 1024 * 1024;

type Shown = 'waiting' | 'redriven' | 'all';
const CHOICES: [Shown, string][] = [['waiting', 'Not sent again'], ['redriven', 'Sent again'], ['all', 'All']];

export function DeadLetters() {
  const [shown, setShown] = useState<Shown>('waiting');
  const [topic, setTopic] = useState('');
  const [run, setRun] = useState(0);
  const [letters, setLetters] = useState<readonly DeadLetter[] | undefined>();
  const [cursor, setCursor] = useState<number | undefined>();
  const [total, setTotal] = useState('');
  const [error, setError] = useState<ApiError | undefined>();
  const [scope, setScope] = useState<RedriveScope | undefined>();

  // One page at a time: another one begins only when this one has ended or is broken off.
  const loading = useRef<AbortController | undefined>(undefined);

  const load = async (after: number | undefined) => {
    loading.current?.abort();
    const broken = new AbortController();
    loading.current = broken;
    setError(undefined);
    try {
      const redriven = shown === 'all' ? {} : { redriven: shown === 'redriven' };
      const page = await get('/api/dlq', { query: { ...redriven, topic, limit: PAGE_LETTERS, cursor: after }, signal: broken.signal });
      if (broken.signal.aborted) return;
      setLetters((before) => (after === undefined ? page.deadLetters : [...(before ?? []), ...page.deadLetters]));
      setCursor(page.nextCursor ?? undefined);
      if (after === undefined) setTotal(matching(page));
    } catch (error) {
      setError(asApiError(error));
    }
  };
  useEffect(() => {
    void load(undefined);
    void countLetters();
    return () => loading.current?.abort();
  }, [shown, topic, run]);

  const characters = (letters ?? []).reduce((sum, letter) => sum + letter.key.length + letter.value.length, 0);
  const full = (letters?.length ?? 0) >= LETTERS_MAX || characters >= TEXT_CHARACTERS_MAX;
  const topics = [...new Set(letters?.map((letter) => letter.topic) ?? [])];
  return (
    <div class="page dead-letters">
      <header class="page-head">
        <div>
          <h1>Dead letters</h1>
          <p class="muted">Records that could not be stored as events. Fix the cause, then send them again. {total}</p>
        </div>
        <div class="page-actions">
          <div class="segmented" role="group" aria-label="Which dead letters">
            {CHOICES.map(([value, label]) => <button key={value} type="button" class={shown === value ? 'on' : ''} aria-pressed={shown === value} onClick={() => setShown(value)}>{label}</button>)}
          </div>
          {(topics.length > 1 || topic !== '') && (
            <select aria-label="Topic" value={topic} onChange={(event) => setTopic(event.currentTarget.value)}>
              <option value="">All topics</option>
              {[...new Set([...topics, ...(topic === '' ? [] : [topic])])].map((name) => <option key={name} value={name}>{plain(name)}</option>)}
            </select>
          )}
          <button type="button" class="icon-button" aria-label="Load again" title="Load again" onClick={() => setRun(run + 1)}><Icon name="refresh" /></button>
          {letters && letters.length > 0 && shown !== 'redriven' && <button type="button" class="primary" onClick={() => setScope({ kind: 'all', topic })}>Send all again…</button>}
        </div>
      </header>
      {error && <Failure error={error} retry={() => void load(letters && letters.length > 0 ? cursor : undefined)} />}
      {!error && !letters && <p class="fine" role="status">Loading…</p>}
      {letters?.length === 0 && !error && <NoLetters shown={shown} />}
      {letters && letters.length > 0 && <Table letters={letters} onRedrive={(letter) => setScope({ kind: 'one', letter })} />}
      {cursor !== undefined && !full && <p class="page-more"><button type="button" onClick={() => void load(cursor)}>Load more</button></p>}
      {cursor !== undefined && full && letters && <p class="fine page-more">{counted(letters.length, 'dead letter')} are shown, as many as the page keeps. <code>spillway dlq list</code> shows all.</p>}
      {scope && <Redrive scope={scope} onClose={(sent) => { setScope(undefined); if (sent) setRun(run + 1); }} />}
    </div>
  );
}

/** How many dead letters match, if there are any and they could be counted. */
function matching({ total, moreThanTotal }: DeadLetterPage): string {
  if (total === undefined || total === null || total === 0) return '';
  return `${moreThanTotal ? 'More than ' : ''}${counted(total, 'dead letter')}.`;
}

function NoLetters({ shown }: { shown: Shown }) {
  if (shown === 'redriven') return <Notice title="No dead letter was sent again" />;
  return (
    <Notice title={shown === 'waiting' ? 'No dead letters wait' : 'No dead letters'}>
      <p>Every record on the bus could be stored. Spillway checks events before it accepts them, so dead letters come from other producers on the topic or from a change in the database.</p>
    </Notice>
  );
}

function Table({ letters, onRedrive }: { letters: readonly DeadLetter[]; onRedrive: (letter: DeadLetter) => void }) {
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const toggle = (id: number) => {
    const next = new Set(open);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
  };
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Dead letters">
      <table class="letters">
        <thead><tr><th scope="col"><span class="off-screen">Expand</span></th><th scope="col">Found</th><th scope="col">Reason</th><th scope="col">Read from</th><th scope="col" class="number">Attempts</th><th scope="col">Sent again</th><th scope="col"><span class="off-screen">Actions</span></th></tr></thead>
        {letters.map((letter) => <Letter key={letter.id} letter={letter} open={open.has(letter.id)} onToggle={() => toggle(letter.id)} onRedrive={() => onRedrive(letter)} />)}
      </table>
    </div>
  );
}

function Letter({ letter, open, onToggle, onRedrive }: { letter: DeadLetter; open: boolean; onToggle: () => void; onRedrive: () => void }) {
  const event = useMemo(() => eventOf(letter), [letter]);
  return (
    <tbody class={open ? 'open' : ''}>
      <tr class="letter-line">
        <td><button type="button" class="bare" aria-expanded={open} aria-label={`Dead letter ${letter.id}`} onClick={onToggle}><Icon name={open ? 'down' : 'right'} /></button></td>
        <td class="mono nowrap" title={exact(letter.at, zone.value)}>{full(letter.at, zone.value)}</td>
        <td class="reason">
          {plain(letter.reason)}
          {(event?.source ?? event?.message) !== undefined && <p class="letter-event">{event?.source !== undefined && <strong>{plain(event.source)}</strong>} {plain((event?.message ?? '').slice(0, ROW_CHARACTERS_MAX))}</p>}
        </td>
        <td class="mono nowrap">{plain(letter.topic)}/{letter.partition} @ {letter.offset}{letter.recordIndex ? `#${letter.recordIndex}` : ''}</td>
        <td class="number">{letter.attempts}</td>
        <td class="nowrap">{letter.redrivenAt ? ago(letter.redrivenAt) : <span class="muted">no</span>}</td>
        <td class="nowrap"><button type="button" onClick={onRedrive}>Send again…</button></td>
      </tr>
      {open && <tr class="letter-raw"><td colSpan={7}><Raw letter={letter} /></td></tr>}
    </tbody>
  );
}

function Raw({ letter }: { letter: DeadLetter }) {
  const isText = letter.encoding === 'text';
  return (
    <div class="raw">
      <p class="fine">
        Group {plain(letter.group)}. {letter.attempts === 0 ? 'It cannot be decoded as an event.' : `The store refused ${counted(letter.attempts, 'append')} with it.`}
        {!isText && ' The bytes are not UTF-8: those that are not text are shown as �.'}
      </p>
      <h3>Key<CopyButton what="Key" text={letter.key} /></h3>
      <LogBlock text={isText ? letter.key : decoded(letter.key)} label="Key" />
      <h3>Value<CopyButton what={isText ? 'Value' : 'Value in base64'} text={letter.value} /></h3>
      <LogBlock text={isText ? letter.value : decoded(letter.value)} label="Value" />
    </div>
  );
}

function CopyButton({ what, text }: { what: string; text: string }) {
  return <button type="button" class="bare" aria-label={`Copy: ${what}`} title="Copy" onClick={() => void copy(text, what)}><Icon name="copy" /></button>;
}

/** Bytes as text, as far as they are text. */
function decoded(base64: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
  } catch {
    return base64;
  }
}
