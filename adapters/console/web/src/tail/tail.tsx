// Tail: matching events as they are stored, newest at the bottom.
//
// It never moves what a person reads: scrolling up or opening an event pauses it, and a paused tail says so and how much is new.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ApiError } from '../api/client';
import { EventDrawer, followed } from '../event/drawer';
import { datesOf, EventList } from '../explore/event-list';
import { combined, searchedTexts } from '../explore/query';
import { Chips, LevelToggles, SearchBar } from '../explore/search-bar';
import { useKeys } from '../state/keys';
import { follow as followLink, go, href, place } from '../state/place';
import { wrap, zone } from '../state/settings';
import { grouped, rate } from '../text/numbers';
import { Icon } from '../ui/icons';
import { Failure, Notice } from '../ui/notice';
import type { Rows } from '../ui/virtual';
import { Following } from './following';

/** How near the end counts as the end. */
const END_PX = 40;
/** As many events as a screen has decide whether times need a date. */
const DATED_EVENTS = 100;
/** A scroll this long after an input of the person is theirs. */
const INTENT_MS = 600;

export function Tail() {
  const [tail] = useState(() => new Following());
  const shown = place.value;
  const search = JSON.stringify([combined(shown), shown.levels]);
  useEffect(() => () => tail.end(), [tail]);
  useEffect(() => tail.follow({ query: combined(shown), level: shown.levels.length > 0 ? [shown.levels.join(',')] : [] }), [search]);
  const connection = tail.connection.value;
  const refused = connection.state === 'refused' ? new ApiError(connection.code, connection.detail, connection.status) : undefined;
  return (
    <div class={`explore tail ${shown.event === '' ? '' : 'with-drawer'}`}>
      <div class="toolbar">
        <SearchBar onAgain={() => tail.follow({ query: combined(shown), level: shown.levels.length > 0 ? [shown.levels.join(',')] : [] })} error={refused}>
          <button type="submit" class="search-button">Apply</button>
        </SearchBar>
        <div class="toolbar-row">
          <Chips />
          <LevelToggles />
          <TailControls tail={tail} />
        </div>
      </div>
      <div class="explore-body">
        <div class="explore-main">
          <Status tail={tail} />
          {refused && refused.code !== 'query_invalid' ? <Failure error={refused} retry={() => tail.retry()} /> : <Lines tail={tail} />}
        </div>
        {shown.event !== '' && <EventDrawer />}
      </div>
    </div>
  );
}

function TailControls({ tail }: { tail: Following }) {
  const paused = tail.paused.value;
  return (
    <div class="view-controls">
      <button type="button" class={`button ${paused ? 'primary' : ''}`} title={`${paused ? 'Resume' : 'Pause'}  Space`} onClick={() => (paused ? tail.resume() : tail.pause())}>
        <Icon name={paused ? 'play' : 'pause'} />{paused ? 'Resume' : 'Pause'}
      </button>
      <button type="button" class="button" onClick={() => tail.clear()}>Clear</button>
      <button type="button" class={`icon-button ${wrap.value ? 'on' : ''}`} aria-pressed={wrap.value} aria-label="Wrap lines" title="Wrap lines  w" onClick={() => { wrap.value = !wrap.peek(); }}><Icon name="wrap" /></button>
      <a class="button" href={href({ view: 'explore', event: '' })} onClick={followLink({ view: 'explore', event: '' })}>Explore</a>
    </div>
  );
}

function Status({ tail }: { tail: Following }) {
  const connection = tail.connection.value;
  const paused = tail.paused.value;
  const { text, kind } = statusText(tail);
  return (
    <div class={`tail-status ${kind}`}>
      <span class="tail-state" role="status"><span class="live-dot" />{text}</span>
      {connection.state === 'open' && <span class="tail-rate">{rate(tail.perSecond.value)}</span>}
      {connection.state === 'waiting' && <button type="button" class="link" onClick={() => tail.retry()}>Connect now</button>}
      {tail.missed.value > 0 && <span class="tail-missed" title="This page was slower than the events came. Explore shows them.">missed {grouped(tail.missed.value)}</span>}
      {paused && tail.discarded.value > 0 && <span class="tail-missed" title="While it is paused, the newest 10,000 events are kept. Explore shows all.">{grouped(tail.discarded.value)} not kept</span>}
      <span class="tail-count">{grouped(tail.events.value.length)} shown</span>
    </div>
  );
}

function statusText(tail: Following): { text: string; kind: string } {
  const connection = tail.connection.value;
  if (connection.state === 'refused') return { text: 'Ended', kind: 'away' };
  if (connection.state === 'waiting') return { text: `${connection.detail} Trying again in ${Math.ceil(connection.retryInMs / 1000)} s; nothing is missed.`, kind: 'away' };
  if (tail.paused.value) return { text: `Paused, ${grouped(tail.held.value)} new`, kind: 'paused' };
  if (tail.asleep.value) return { text: 'Ended while the tab was hidden; resuming', kind: 'paused' };
  return connection.state === 'connecting' ? { text: 'Connecting…', kind: 'paused' } : { text: 'Live', kind: 'live' };
}

function Lines({ tail }: { tail: Following }) {
  const events = tail.events.value;
  const shown = place.value;
  const rows = useRef<Rows | undefined>(undefined);
  const intent = useRef(-INTENT_MS);
  const scrollTop = useRef(0);
  /** Such a pause ends with the scroll back to the end; any other one only when the person says so. */
  const pausedByScroll = useRef(false);
  const [selected, setSelected] = useState('');
  const [expanded, setExpanded] = useState<ReadonlySet<string>>(new Set());

  const hold = () => {
    pausedByScroll.current = false;
    if (!tail.paused.peek()) tail.pause();
  };
  useEffect(() => {
    if (shown.event !== '') hold();
  }, [shown.event]);
  // Whatever resumed it, a click or a key, was not the beginning of a scroll.
  useLayoutEffect(() => {
    if (tail.paused.value) return;
    pausedByScroll.current = false;
    intent.current = -INTENT_MS;
  }, [tail.paused.value]);
  useEffect(() => {
    const waiting = tail.paused.value ? tail.held.value : 0;
    document.title = waiting > 0 ? `(${grouped(waiting)}) Tail · Spillway` : 'Tail · Spillway';
  }, [tail.held.value, tail.paused.value]);

  const move = (by: number) => {
    hold();
    const list = tail.events.peek();
    const at = list.findIndex((event) => event.eventId === selected);
    const next = at < 0 ? list.length - 1 : Math.min(list.length - 1, Math.max(0, at + by));
    setSelected(list[next]?.eventId ?? '');
    rows.current?.scrollToIndex(next, { align: 'auto' });
  };
  const toggle = (eventId: string) => {
    const next = new Set([...expanded].slice(-500));
    if (!next.delete(eventId)) next.add(eventId);
    hold();
    setExpanded(next);
  };
  const open = (eventId: string, show: Show = 'details') => {
    const event = tail.events.peek().find((one) => one.eventId === eventId);
    if (event) followed.value = new Map([[eventId, event]]);
    hold();
    setSelected(eventId);
    go({ event: eventId, show });
  };
  useTailKeys(tail, { selected, move, open });

  if (events.length === 0 && !tail.paused.value) return <Waiting tail={tail} />;
  const noteIntent = () => { intent.current = performance.now(); };
  const onScroll = (list: HTMLElement) => {
    // New events and heights that become known move the end away, and the list down: only a person moves it up.
    const isUp = list.scrollTop < scrollTop.current;
    scrollTop.current = list.scrollTop;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < END_PX;
    if (performance.now() - intent.current >= INTENT_MS) return;
    if (isUp && !atEnd && !tail.paused.peek()) {
      tail.pause();
      pausedByScroll.current = true;
    } else if (atEnd && pausedByScroll.current) tail.resume();
  };
  return (
    <div class="tail-lines" onWheel={noteIntent} onTouchMove={noteIntent} onKeyDown={noteIntent} onPointerDown={noteIntent}>
      <EventList moving={!tail.paused.value} events={events} columns={shown.columns} wrap={wrap.value} zone={zone.value} terms={searchedTexts(shown.query)} selected={shown.event || selected} expanded={expanded}
        dates={datesOf(events.slice(-DATED_EVENTS))} label="Events as they are stored" rows={rows} firstNew={tail.firstNew.value} onSelect={setSelected} onOpen={open} onToggle={toggle} onScroll={onScroll}
        onRemoveColumn={(column) => go({ columns: place.peek().columns.filter((one) => one !== column) }, 'replace')} />
      {tail.paused.value && <button type="button" class="to-end primary" onClick={() => tail.resume()}><Icon name="bottom" />{tail.held.value > 0 ? `${grouped(tail.held.value)} new` : 'Resume'}</button>}
    </div>
  );
}

type Show = 'details' | 'context' | 'trace';

interface TailActions {
  selected: string;
  move: (by: number) => void;
  open: (eventId: string, show?: Show) => void;
}

function useTailKeys(tail: Following, { selected, move, open }: TailActions): void {
  useKeys({
    ' ': () => (tail.paused.peek() ? tail.resume() : tail.pause()),
    j: () => move(1),
    k: () => move(-1),
    Enter: () => (selected === '' ? false : open(selected)),
    c: () => (selected === '' ? false : open(selected, 'context')),
    t: () => (selected === '' ? false : open(selected, 'trace')),
    w: () => { wrap.value = !wrap.peek(); },
    l: () => tail.resume(),
    Escape: () => (place.peek().event === '' ? false : go({ event: '', show: 'details' })),
  });
}

function Waiting({ tail }: { tail: Following }) {
  if (tail.connection.value.state !== 'open') return null;
  const { query, where, levels } = place.value;
  const conditions = query !== '' || where.length > 0 || levels.length > 0;
  return (
    <Notice title="Waiting for events">
      <p>{conditions ? 'Events that match appear here as they are stored. None matched in the last hour.' : 'Events appear here as they are stored.'}</p>
      {!conditions && <p>For a first look, run <code>spillway generate --rate 20</code>.</p>}
    </Notice>
  );
}
