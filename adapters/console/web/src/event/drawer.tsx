// The event that is open: its fields, what happened around it, and its trace.
import { signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type ApiError, asApiError, get, type StoredEvent } from '../api/client';
import { current } from '../explore/results';
import { around, follow, go, href, place, SHOWN, type Shown } from '../state/place';
import { zone } from '../state/settings';
import { ago, exact } from '../text/time';
import { plain } from '../text/pieces';
import { Icon } from '../ui/icons';
import { Failure } from '../ui/notice';
import { copy } from '../ui/toast';
import { CopyLink, copyLink } from '../ui/copy-link';
import { narrow } from '../ui/media';
import { Menu } from '../ui/menu';
import { ContextOf } from './context';
import { Details } from './details';
import { TraceOf } from './trace';

const NAMES: Record<Shown, string> = { details: 'Details', context: 'Context', trace: 'Trace' };

/** Events of a tail: they need not be asked for. */
export const followed = signal<ReadonlyMap<string, StoredEvent>>(new Map());

function loaded(eventId: string): StoredEvent | undefined {
  return current.peek()?.events.peek().find((event) => event.eventId === eventId) ?? followed.peek().get(eventId);
}

export function EventDrawer() {
  const { event: eventId, show } = place.value;
  const [event, setEvent] = useState<StoredEvent | undefined>(() => loaded(eventId));
  const [error, setError] = useState<ApiError | undefined>();

  useEffect(() => {
    setError(undefined);
    const known = loaded(eventId);
    setEvent(known);
    if (known) return;
    const broken = new AbortController();
    get('/api/logs/{eventId}', { path: { eventId }, signal: broken.signal })
      .then(setEvent)
      .catch((error: unknown) => setError(asApiError(error)));
    return () => broken.abort();
  }, [eventId]);

  // Where the event covers the list, the focus goes with it and comes back.
  const drawer = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!matchMedia('(max-width: 1100px)').matches) return;
    drawer.current?.focus();
    return () => document.querySelector<HTMLElement>('.event-list')?.focus();
  }, []);

  return (
    <aside class="drawer" aria-label="Event" ref={drawer} tabIndex={-1}>
      {error && <><CloseOnly /><Failure error={error} /></>}
      {!error && !event && <><CloseOnly /><p class="fine drawer-wait">Loading the event…</p></>}
      {event && (
        <>
          <Head event={event} />
          <Tabs event={event} show={show} />
          <div class="drawer-body" role="tabpanel" id="drawer-panel" aria-labelledby={`tab-${show}`} key={`${event.eventId}-${show}`}>
            {show === 'details' && <Details event={event} />}
            {show === 'context' && <ContextOf event={event} />}
            {show === 'trace' && <TraceOf event={event} />}
          </div>
        </>
      )}
    </aside>
  );
}

function CloseOnly() {
  return <div class="drawer-head"><span class="drawer-when" /><CloseButton /></div>;
}

function CloseButton() {
  return <button type="button" class="icon-button" aria-label="Close the event" title="Close  Esc" onClick={() => go({ event: '', show: 'details' })}><Icon name="close" /></button>;
}

function Head({ event }: { event: StoredEvent }) {
  return (
    <div class="drawer-head">
      <div class="drawer-title">
        <span class={`level level-${event.level}`}>{event.level}</span>
        <span class="drawer-source">{plain(event.source)}</span>
        <span class="drawer-when"><time dateTime={event.timestamp}>{exact(event.timestamp, zone.value)}</time> <span class="muted">{ago(event.timestamp)}</span></span>
      </div>
      <div class="drawer-actions">
        {narrow.value ? <MoreCopies event={event} /> : <Copies event={event} />}
        <Neighbours event={event} />
        <CloseButton />
      </div>
    </div>
  );
}

const copyJson = (event: StoredEvent) => void copy(JSON.stringify(event, null, 2), 'Event as JSON');
const copyCurl = (event: StoredEvent) => void copy(`curl '${location.origin}/api/logs/${event.eventId}'`, 'curl command');
const withNeighbours = (event: StoredEvent) => around(event, place.peek().show);

function Copies({ event }: { event: StoredEvent }) {
  return (
    <>
      <button type="button" class="icon-button text" title="Copy as JSON" onClick={() => copyJson(event)}><Icon name="copy" />JSON</button>
      <button type="button" class="icon-button text" title="Copy a command that fetches it" onClick={() => copyCurl(event)}><Icon name="copy" />curl</button>
      <CopyLink to="this event" place={() => withNeighbours(event)} />
    </>
  );
}

function MoreCopies({ event }: { event: StoredEvent }) {
  return (
    <Menu label="More" face="More">
      {(close) => {
        const then = (action: () => void) => () => { action(); close(); };
        return (
          <>
            <button type="button" class="menu-item" onClick={then(() => copyLink('this event', withNeighbours(event)))}>Link to this event</button>
            <button type="button" class="menu-item" onClick={then(() => copyJson(event))}>Copy as JSON</button>
            <button type="button" class="menu-item" onClick={then(() => copyCurl(event))}>Copy as curl</button>
          </>
        );
      }}
    </Menu>
  );
}

/** The events above and below in the list, for those without a keyboard. */
function Neighbours({ event }: { event: StoredEvent }) {
  const events = (place.value.view === 'explore' ? current.value?.events.value : undefined) ?? [];
  const at = events.findIndex((one) => one.eventId === event.eventId);
  if (at < 0) return null;
  const to = (index: number) => {
    const next = events[index];
    if (next) go({ event: next.eventId }, 'replace');
  };
  return (
    <>
      <button type="button" class="icon-button" aria-label="Event above" title="Event above  k" disabled={at === 0} onClick={() => to(at - 1)}><Icon name="up" /></button>
      <button type="button" class="icon-button" aria-label="Event below" title="Event below  j" disabled={at === events.length - 1} onClick={() => to(at + 1)}><Icon name="down" /></button>
    </>
  );
}

function Tabs({ event, show }: { event: StoredEvent; show: Shown }) {
  return (
    <div class="tabs" role="tablist" aria-label="Event">
      {SHOWN.map((one) => (
        <a key={one} id={`tab-${one}`} role="tab" aria-selected={show === one} aria-controls="drawer-panel" class={`tab ${show === one ? 'on' : ''} ${one === 'trace' && !event.traceId ? 'empty' : ''}`}
          href={href({ show: one })} onClick={follow({ show: one })}>
          {NAMES[one]}
          {one !== 'details' && <kbd>{one[0] === 'c' ? 'c' : 't'}</kbd>}
        </a>
      ))}
    </div>
  );
}
