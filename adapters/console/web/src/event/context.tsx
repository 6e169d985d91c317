// What happened just before and after an event, oldest first.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { type ApiError, asApiError, type EventContext, get, type StoredEvent } from '../api/client';
import { around, go, place } from '../state/place';
import { zone } from '../state/settings';
import { plain } from '../text/pieces';
import { clock, exact } from '../text/time';
import { Icon } from '../ui/icons';
import { Failure } from '../ui/notice';
import { LogText } from '../ui/log-text';

type Scope = 'source' | 'traceId' | 'all';
const STEP = 10;
const EVENTS_MAX = 500;
const LINE_CHARACTERS_MAX = 2_000;

export function ContextOf({ event }: { event: StoredEvent }) {
  const [scope, setScope] = useState<Scope>('source');
  const [size, setSize] = useState({ before: STEP, after: STEP });
  const [context, setContext] = useState<EventContext | undefined>();
  const [error, setError] = useState<ApiError | undefined>();

  useEffect(() => {
    const broken = new AbortController();
    setError(undefined);
    get('/api/logs/{eventId}/context', { path: { eventId: event.eventId }, query: { ...size, scope }, signal: broken.signal })
      .then((found) => {
        kept.current = firstInSight(lines.current);
        setContext(found);
      })
      .catch((error: unknown) => setError(asApiError(error)));
    return () => broken.abort();
  }, [event.eventId, scope, size]);

  // More lines above do not move those that a person reads.
  const lines = useRef<HTMLDivElement>(null);
  const kept = useRef<Placed | undefined>(undefined);
  useLayoutEffect(() => {
    const line = kept.current && document.getElementById(kept.current.id);
    const scroller = lines.current?.closest('.drawer-body');
    if (line && scroller && kept.current) scroller.scrollTop += line.getBoundingClientRect().top - kept.current.top;
    kept.current = undefined;
  }, [context]);

  const choices: [Scope, string][] = [['source', `From ${plain(event.source)}`], ['all', 'All sources'], ...(event.traceId ? [['traceId', 'Its trace'] as [Scope, string]] : [])];
  return (
    <div class="context" ref={lines}>
      <div class="context-scope"><div class="segmented" role="group" aria-label="Events of">
        {choices.map(([value, label]) => <button key={value} type="button" class={scope === value ? 'on' : ''} aria-pressed={scope === value} onClick={() => setScope(value)}>{label}</button>)}
      </div></div>
      {error && <Failure error={error} />}
      {!error && !context && <p class="fine">Loading…</p>}
      {context && (
        <>
          <More direction="before" exhausted={!context.beforeCursor} full={size.before >= EVENTS_MAX} onClick={() => setSize({ ...size, before: Math.min(EVENTS_MAX, size.before + 4 * STEP) })} />
          <ContextLines context={context} withSource={scope !== 'source'} />
          <More direction="after" exhausted={!context.afterCursor} full={size.after >= EVENTS_MAX} onClick={() => setSize({ ...size, after: Math.min(EVENTS_MAX, size.after + 4 * STEP) })} />
          <Around event={event} scope={scope} />
        </>
      )}
    </div>
  );
}

/** A line, and where it is on the screen. */
interface Placed {
  id: string;
  top: number;
}

/** The first line below the choice of the scope, which stays above the lines. */
function firstInSight(context: HTMLElement | null): Placed | undefined {
  const edge = context?.querySelector('.context-scope')?.getBoundingClientRect().bottom ?? 0;
  for (const line of context?.querySelectorAll('.context-line') ?? []) {
    const { top } = line.getBoundingClientRect();
    if (top >= edge - 1) return { id: line.id, top };
  }
  return undefined;
}

function More({ direction, exhausted, full, onClick }: { direction: 'before' | 'after'; exhausted: boolean; full: boolean; onClick: () => void }) {
  if (exhausted) return <p class="fine context-end">{direction === 'before' ? 'Nothing before' : 'Nothing after'}</p>;
  if (full) return <p class="fine context-end">{EVENTS_MAX} events are shown; Explore shows more.</p>;
  return <button type="button" class="link context-more" onClick={onClick}><Icon name={direction === 'before' ? 'up' : 'down'} />40 more {direction}</button>;
}

function ContextLines({ context, withSource }: { context: EventContext; withSource: boolean }) {
  const itself = useRef<HTMLLIElement>(null);
  const id = context.event.eventId;
  useEffect(() => itself.current?.scrollIntoView({ block: 'center' }), [id]);
  return (
    <ol class="context-lines">
      {[...context.before, context.event, ...context.after].map((event) => (
        <li key={event.eventId} id={`context-${event.eventId}`} ref={event.eventId === id ? itself : null} class={`context-line level-${event.level} ${event.eventId === id ? 'itself' : ''}`} aria-current={event.eventId === id ? 'true' : undefined}>
          <button type="button" disabled={event.eventId === id} onClick={() => go({ event: event.eventId, show: 'details' })} title={exact(event.timestamp, zone.value)}>
            <span class="cell-time">{clock(event.timestamp, zone.value)}</span>
            <span class="level">{event.level}</span>
            <span class="context-text">{withSource && <span class="context-source">{plain(event.source)} </span>}<LogText text={event.message.slice(0, LINE_CHARACTERS_MAX)} /></span>
          </button>
        </li>
      ))}
    </ol>
  );
}

/** The same in Explore, with a minute on each side. */
function Around({ event, scope }: { event: StoredEvent; scope: Scope }) {
  const show = () => {
    const where = scope === 'all' ? [] : scope === 'source' ? [`source:"${event.source.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`] : [`traceId:${event.traceId}`];
    go({ ...around(event), where, order: place.peek().order, columns: place.peek().columns });
  };
  return <button type="button" class="link context-around" onClick={show}>Show the minute before and after in Explore</button>;
}
