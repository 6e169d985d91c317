// Explore: search, counts by time, fields, and the list of matching events.
import { useSignalEffect } from '@preact/signals';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { writeQuery } from '../api/client';
import { EventDrawer } from '../event/drawer';
import { Histogram } from '../parts';
import { useKeys } from '../state/keys';
import { arrivedBy, follow, go, href, place } from '../state/place';
import { showFields, showHistogram, wrap, zone } from '../state/settings';
import { counted, duration, grouped } from '../text/numbers';
import { clock, full, justAfter, rangeName } from '../text/time';
import { Icon } from '../ui/icons';
import { Menu } from '../ui/menu';
import { Failure, Notice } from '../ui/notice';
import { CopyLink } from '../ui/copy-link';
import { narrow } from '../ui/media';
import type { Rows } from '../ui/virtual';
import { datesOf, EventList } from './event-list';
import { FieldsPanel } from './fields-panel';
import { searchedTexts, searchParameters } from './query';
import { current, EVENTS_MAX, refresh, type Results, searchKey, show } from './results';
import { SavedViews } from './saved-views';
import { Chips, LevelToggles, SearchBar } from './search-bar';
import { absolute, shift, TimeRange } from './time-range';

export function Explore() {
  const shown = place.value;
  const key = searchKey(shown);
  // Before the first render with another search, so that no frame is empty and the panels beside the list stay as they are.
  useMemo(() => show(shown, arrivedBy.peek() === 'history'), [key]);
  // Neither is asked for while it is hidden: that is what the switch is for.
  useSignalEffect(() => {
    if (showHistogram.value) void current.value?.count();
  });
  const results = current.value;
  useEffect(() => {
    if (results && results.events.peek().length === 0 && !results.complete.peek()) void results.more();
  }, [results]);
  const ready = results?.key === key;
  useExploreKeys(results);
  return (
    <div class={`explore ${shown.event === '' ? '' : 'with-drawer'}`}>
      <div class="toolbar">
        <SearchBar onAgain={refresh} error={ready ? results.error.value : undefined}>
          <TimeRange />
          <button type="submit" class="primary search-button"><Icon name="refresh" /><span>Search</span></button>
        </SearchBar>
        <div class="toolbar-row">
          <Chips />
          <LevelToggles counts={ready && showHistogram.value ? results.stats.value?.total : undefined} />
          <ViewControls results={ready ? results : undefined} />
        </div>
      </div>
      <div class={`explore-body ${showFields.value ? 'with-fields' : ''}`}>
        {showFields.value && ready && <FieldsPanel results={results} />}
        <div class="explore-main">
          {showHistogram.value && ready && <Counts results={results} />}
          {ready && <Found results={results} key={results.startedAt} />}
        </div>
        {shown.event !== '' && <EventDrawer />}
      </div>
    </div>
  );
}

function useExploreKeys(results: Results | undefined): void {
  const open = () => place.peek().event;
  const move = (by: number) => {
    const events = results?.events.peek() ?? [];
    const at = events.findIndex((event) => event.eventId === results?.selected.peek());
    const next = events[Math.min(events.length - 1, Math.max(0, at + by))];
    if (!results || !next) return false;
    results.selected.value = next.eventId;
    if (open() !== '') go({ event: next.eventId }, 'replace');
    return true;
  };
  const withSelected = (act: (eventId: string) => void) => () => {
    const eventId = open() || results?.selected.peek() || '';
    if (eventId === '') return false;
    act(eventId);
    return true;
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => (document.activeElement?.closest('.event-list') ? move(1) : false),
    ArrowUp: () => (document.activeElement?.closest('.event-list') ? move(-1) : false),
    Enter: withSelected((event) => go({ event, show: 'details' })),
    c: withSelected((event) => go({ event, show: 'context' })),
    t: withSelected((event) => go({ event, show: 'trace' })),
    ' ': withSelected((event) => results?.toggle(event)),
    l: () => go({ view: 'tail', event: '' }),
    w: () => { wrap.value = !wrap.peek(); },
    '[': () => shift(-1),
    ']': () => shift(1),
    Escape: () => (open() === '' ? false : go({ event: '', show: 'details' })),
  });
}

function ViewControls({ results }: { results: Results | undefined }) {
  const toggle = (setting: { value: boolean }) => () => { setting.value = !setting.value; };
  const [more, setMore] = useState(false);
  return (
    <div class="view-controls">
      {(!narrow.value || more) && (
        <div class="view-icons">
          <Toggle icon="fields" label="Fields" on={showFields.value} onClick={toggle(showFields)} />
          <Toggle icon="chart" label="Histogram" on={showHistogram.value} onClick={toggle(showHistogram)} />
          <Toggle icon="wrap" label="Wrap lines  w" on={wrap.value} onClick={toggle(wrap)} />
          <span class="divider" />
          <SavedViews />
          <Download results={results} />
          <CopyLink to="this view" place={() => absolute(place.peek())} />
        </div>
      )}
      {narrow.value && <button type="button" aria-expanded={more} onClick={() => setMore(!more)}>{more ? 'Less' : 'More'}</button>}
      <a class="button live" href={href({ view: 'tail', event: '' })} onClick={follow({ view: 'tail', event: '' })} title="Follow new events  l"><span class="live-dot" />Live</a>
    </div>
  );
}

function Toggle({ icon, label, on, onClick }: { icon: 'fields' | 'chart' | 'wrap'; label: string; on: boolean; onClick: () => void }) {
  return <button type="button" class={`icon-button ${on ? 'on' : ''}`} aria-pressed={on} aria-label={label.replace(/ {2}.*/, '')} title={label} onClick={onClick}><Icon name={icon} /></button>;
}

/** All matching events as a file: the export has no limit of time, and is not limited to what is loaded. */
function Download({ results }: { results: Results | undefined }) {
  const exported = (format: string) => `/api/logs/export?${writeQuery({ ...searchParameters(absolute(place.value)), order: place.value.order, format })}`;
  const total = results?.stats.value && Object.values(results.stats.value.total).reduce((sum, count) => sum + count, 0);
  return (
    <Menu label="Download" face={<Icon name="download" />}>
      {(close) => (
        <div class="download-panel">
          <p>{total === undefined ? 'All matching events, not only those that are loaded.' : `All ${counted(total, 'matching event')}, not only those that are loaded.`}</p>
          <a class="menu-item" href={exported('ndjson')} download="spillway-events.ndjson" onClick={close}>NDJSON, one event a line</a>
          <a class="menu-item" href={exported('csv')} download="spillway-events.csv" onClick={close}>CSV, for a spreadsheet</a>
        </div>
      )}
    </Menu>
  );
}

function Counts({ results }: { results: Results }) {
  const error = results.statsError.value;
  const stats = results.stats.value;
  // The counts of the search before stay until the new ones come, but pale.
  const before = useRef(stats);
  if (stats) before.current = stats;
  if (error) return <div class="histogram-place"><Failure error={error} retry={() => void results.count()} /></div>;
  const shown = stats ?? before.current;
  return (
    <div class={`histogram-place ${stats ? '' : 'loading'} ${shown ? '' : 'nothing'}`} aria-busy={!stats}>
      {shown && <Histogram stats={shown} onRange={(from, to) => go({ from, to })} />}
    </div>
  );
}

function Found({ results }: { results: Results }) {
  const events = results.events.value;
  const error = results.error.value;
  const shown = place.value;
  const rows = useRef<Rows | undefined>(undefined);
  const selected = shown.event || results.selected.value;
  // The event of a link is looked for once the events are there.
  const areLoaded = events.length > 0;
  useEffect(() => {
    const index = events.findIndex((event) => event.eventId === selected);
    if (index >= 0) rows.current?.scrollToIndex(index, { align: 'auto' });
  }, [selected, areLoaded]);

  if (error && events.length === 0) return error.code === 'query_invalid' ? <InvalidQuery /> : <Failure error={error} retry={() => void results.more()} />;
  if (events.length === 0) return results.complete.value ? <NothingFound results={results} /> : <Loading />;
  const open = (eventId: string) => {
    results.selected.value = eventId;
    go({ event: eventId, show: shown.event === '' ? 'details' : shown.show }, shown.event === '' ? 'push' : 'replace');
  };
  return (
    <>
      <Summary results={results} />
      <EventList events={events} columns={shown.columns} wrap={wrap.value} zone={zone.value} terms={searchedTexts(shown.query)} selected={selected} expanded={results.expanded.value}
        dates={datesOf([events[0], events.at(-1)])} label="Events" kept={results} rows={rows}
        onSelect={(eventId) => { results.selected.value = eventId; }} onOpen={open} onToggle={(eventId) => results.toggle(eventId)}
        onRemoveColumn={(column) => go({ columns: place.peek().columns.filter((one) => one !== column) }, 'replace')}
        onEnd={() => { if (!results.error.peek()) void results.more(); }} footer={<Footer results={results} />} />
    </>
  );
}

function Summary({ results }: { results: Results }) {
  const { order } = place.value;
  const stats = results.stats.value;
  const total = stats && showHistogram.value ? Object.values(stats.total).reduce((sum, count) => sum + count, 0) : undefined;
  const loaded = results.events.value.length;
  const took = results.tookMs.value;
  return (
    <div class="summary">
      <span><strong>{counted(total ?? loaded, 'event')}</strong>{total === undefined && !results.complete.value ? ' loaded' : ''}{took !== undefined && <span class="took"> in {duration(took / 1000)}, as of {clock(new Date(results.startedAt).toISOString(), zone.value).slice(0, 8)}</span>}</span>
      <button type="button" class="link" onClick={() => go({ order: order === 'desc' ? 'asc' : 'desc' })}>Sort: {order === 'desc' ? 'newest first' : 'oldest first'}</button>
    </div>
  );
}

function Footer({ results }: { results: Results }) {
  const error = results.error.value;
  const last = results.events.value.at(-1);
  if (error) return <Failure error={error} retry={() => void results.more()} />;
  if (results.full.value && last) {
    // Other events of this time may not be loaded yet. Only if all that are loaded have it, the next ones are those beyond it.
    const end = justAfter(last.timestamp);
    const isOneTime = justAfter((results.events.value[0] ?? last).timestamp) === end;
    const next = place.value.order === 'desc' ? { to: isOneTime ? last.timestamp : end } : { from: isOneTime ? end : last.timestamp };
    return (
      <p>
        {grouped(results.events.value.length)} events are loaded, which is as many as the page keeps (at most {grouped(EVENTS_MAX)}).{' '}
        <button type="button" class="link" onClick={() => go(next)}>Continue from {full(last.timestamp, zone.value)}</button>
      </p>
    );
  }
  if (results.complete.value) return <p>End of the results</p>;
  return <p>Loading more…</p>;
}

function Loading() {
  return (
    <div class="loading-rows" role="status">
      <span class="off-screen">Searching…</span>
      {Array.from({ length: 14 }, (_, index) => <span key={index} class={`ghost ghost-${index % 5}`} />)}
    </div>
  );
}

function InvalidQuery() {
  return (
    <Notice title="The query is not understood">
      <p>The message above says where, and what would be right there. Examples that work:</p>
      <Examples />
    </Notice>
  );
}

function Examples() {
  const examples = ['timeout', '"card declined"', 'userId:12345 AND level>=WARN', 'source:checkout-* -healthcheck', 'http.status:>=500'];
  return <ul class="examples">{examples.map((query) => <li key={query}><button type="button" class="link mono" onClick={() => go({ query, where: [] })}>{query}</button></li>)}</ul>;
}

function NothingFound({ results }: { results: Results }) {
  const shown = place.value;
  const newest = results.outside.value;
  const outside = newest === 'none' ? undefined : newest;
  const conditions = shown.query !== '' || shown.where.length > 0 || shown.levels.length > 0;
  const range = rangeName(shown.from, shown.to, zone.value).toLowerCase();
  const around = (time: string) => ({ from: new Date(Date.parse(time) - 3_600_000).toISOString(), to: new Date(Date.parse(time) + 1_000).toISOString() });
  return (
    <Notice title={conditions ? `No events match (${range})` : `No events (${range})`}>
      {results.hints.value.map((hint) => <p key={hint}>{hint}</p>)}
      {outside && (
        <p>
          The newest {conditions ? 'matching event' : 'event'} is of {full(outside.timestamp, zone.value)}.{' '}
          <button type="button" class="link" onClick={() => go(around(outside.timestamp))}>Show the hour before it</button>
        </p>
      )}
      {conditions && <p><button type="button" class="link" onClick={() => go({ query: '', where: [], levels: [] })}>Remove all conditions</button></p>}
      {!outside && !conditions && (
        <p>
          Nothing is stored yet. <a href={href({ view: 'send' })} onClick={follow({ view: 'send' })}>Send some lines</a>, or run <code>spillway generate</code> for made-up events.
        </p>
      )}
      {conditions && newest === 'none' && <p>No stored event of any time matches either.</p>}
    </Notice>
  );
}
