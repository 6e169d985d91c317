// All events of a trace, across sources, with their time after its first event.
import { useEffect, useState } from 'preact/hooks';
import { type ApiError, asApiError, type EventPage, get, type StoredEvent } from '../api/client';
import { condition } from '../explore/query';
import { go, place } from '../state/place';
import { zone } from '../state/settings';
import { counted, duration } from '../text/numbers';
import { plain } from '../text/pieces';
import { exact } from '../text/time';
import { Failure, Notice } from '../ui/notice';
import { LogText } from '../ui/log-text';

const EVENTS_MAX = 500;
/** What Explore shows before and after a trace. */
const MARGIN_MS = 1_000;
const LINE_CHARACTERS_MAX = 2_000;

export function TraceOf({ event }: { event: StoredEvent }) {
  const { traceId } = event;
  const [page, setPage] = useState<EventPage | undefined>();
  const [error, setError] = useState<ApiError | undefined>();
  useEffect(() => {
    if (!traceId) return;
    const broken = new AbortController();
    get('/api/logs', { query: { traceId, order: 'asc', limit: EVENTS_MAX }, signal: broken.signal })
      .then(setPage)
      .catch((error: unknown) => setError(asApiError(error)));
    return () => broken.abort();
  }, [traceId]);

  if (!traceId) {
    return (
      <Notice title="The event has no trace">
        <p>Send <code>traceId</code> (32 hexadecimal digits) with your events to follow a request across sources. OpenTelemetry does so by itself.</p>
      </Notice>
    );
  }
  if (error) return <Failure error={error} />;
  if (!page) return <p class="fine">Loading…</p>;
  const sources = [...new Set(page.events.map((one) => one.source))];
  const begin = Date.parse(page.events[0]?.timestamp ?? event.timestamp);
  const length = Date.parse(page.events.at(-1)?.timestamp ?? event.timestamp) - begin;
  // Of a trace with more events, only the beginning is known.
  const range = { from: new Date(begin - MARGIN_MS).toISOString(), to: page.nextCursor ? '' : new Date(begin + length + MARGIN_MS).toISOString() };
  return (
    <div class="trace">
      <p class="trace-summary"><strong>{counted(page.events.length, 'event')}</strong> from {counted(sources.length, 'source')} within {duration(length / 1000)}{page.nextCursor ? '; more follow in Explore' : ''}</p>
      <p class="mono trace-id">{traceId}</p>
      <ol class="trace-lines">
        {page.events.map((one) => <TraceLine key={one.eventId} event={one} offset={Date.parse(one.timestamp) - begin} length={length} source={sources.indexOf(one.source)} itself={one.eventId === event.eventId} />)}
      </ol>
      <button type="button" class="link" onClick={() => go({ ...place.peek(), view: 'explore', query: '', levels: [], where: [condition('traceId', traceId)], ...range, order: 'asc' })}>Show the trace in Explore</button>
    </div>
  );
}

/** Precise enough to tell neighbours apart. */
function after(ms: number): string {
  return ms >= 1_000 && ms < 100_000 ? `${(ms / 1_000).toFixed(2)} s` : duration(ms / 1_000);
}

interface TraceLineProps {
  event: StoredEvent;
  /** Milliseconds after the first event. */
  offset: number;
  length: number;
  /** Its source's number. */
  source: number;
  itself: boolean;
}

function TraceLine({ event, offset, length, source, itself }: TraceLineProps) {
  return (
    <li class={`trace-line level-${event.level} ${itself ? 'itself' : ''}`} aria-current={itself ? 'true' : undefined}>
      <button type="button" onClick={() => go({ event: event.eventId, show: 'details' })} disabled={itself} title={exact(event.timestamp, zone.value)}>
        <span class="trace-time">+{after(offset)}</span>
        <span class="trace-track" aria-hidden="true"><span class={`trace-mark hue-${source % 6}`} ref={(element) => { if (element) element.style.left = `${length > 0 ? (100 * offset) / length : 0}%`; }} /></span>
        <span class={`trace-source hue-${source % 6}`}>{plain(event.source)}</span>
        <span class="level">{event.level}</span>
        <span class="context-text"><LogText text={event.message.slice(0, LINE_CHARACTERS_MAX)} /></span>
      </button>
    </li>
  );
}
