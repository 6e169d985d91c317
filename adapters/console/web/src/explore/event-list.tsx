// The list of events that Explore and Tail share: a grid with one row for each event, of which only those in sight are elements.
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import type { StoredEvent } from '../api/client';
import { columnText, metadataFields } from '../event/fields';
import { narrow } from '../ui/media';
import { type Rows, useRows } from '../ui/virtual';
import type { VirtualItem } from '@tanstack/virtual-core';
import { Icon } from '../ui/icons';
import { LogBlock, LogText } from '../ui/log-text';
import { clock, day, exact, type Zone } from '../text/time';
import { plain } from '../text/pieces';

/** What a row shows of a message that is not expanded, in characters. */
const ROW_CHARACTERS_MAX = 2_000;
const ROW_HEIGHT_PX = 24;
/** Most rows of a narrow page: a line of facts and a line of text. */
const NARROW_ROW_HEIGHT_PX = 48;
const HALF_DAY_MS = 12 * 3_600_000;

export interface EventListProps {
  events: readonly StoredEvent[];
  columns: readonly string[];
  wrap: boolean;
  zone: Zone;
  terms: readonly string[];
  selected: string;
  expanded: ReadonlySet<string>;
  /** Whether the list keeps to its end by itself; its elements may then be used again for other events. */
  moving?: boolean;
  /** The event that has a line above it, because it and those below it are new. */
  firstNew?: string;
  /** What rows show of the date. */
  dates: 'none' | 'day' | 'year';
  label: string;
  onSelect: (eventId: string) => void;
  onOpen: (eventId: string) => void;
  onToggle: (eventId: string) => void;
  onRemoveColumn?: (column: string) => void;
  /** Called when the end comes into sight. */
  onEnd?: () => void;
  onScroll?: (scroller: HTMLElement) => void;
  /** Where the list was, if it is shown again; it is told when it goes. */
  kept?: { scrollTop: number; measurements: VirtualItem[] };
  footer?: ComponentChildren;
  rows?: { current: Rows | undefined };
}

/** Events of the last hours need no date, and events of this year no year. */
export function datesOf(events: readonly (StoredEvent | undefined)[]): EventListProps['dates'] {
  const now = Date.now();
  const times = events.map((event) => (event ? Date.parse(event.timestamp) : now));
  if (times.some((time) => new Date(time).getUTCFullYear() !== new Date(now).getUTCFullYear())) return 'year';
  return times.some((time) => Math.abs(now - time) > HALF_DAY_MS) ? 'day' : 'none';
}

/** Whether the next list that is shown takes the focus, unless something else has it by then. */
let isAwaited = false;

/** Moves the focus from the search box to the list: keys are for events again, and a phone puts its keyboard away. */
export function focusList(): void {
  isAwaited = true;
  (document.activeElement as HTMLElement | null)?.blur();
  // Another search replaces it.
  document.querySelector<HTMLElement>('.event-list')?.focus();
}

export function EventList(props: EventListProps) {
  const { events, columns, wrap, expanded, kept } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useRows({
    count: events.length,
    scroller,
    keyOf: (index) => events[index]?.eventId ?? index,
    estimate: narrow.value ? NARROW_ROW_HEIGHT_PX : ROW_HEIGHT_PX,
    ...(kept ? { scrollTop: kept.scrollTop, measurements: kept.measurements } : {}),
  });
  if (props.rows) props.rows.current = rows;
  // The snapshot is taken before the elements go.
  useLayoutEffect(
    () => () => {
      if (kept) kept.measurements = rows.takeSnapshot();
    },
    [kept],
  );
  useLayoutEffect(() => {
    if (wrap !== wrapped.current) rows.measure();
    wrapped.current = wrap;
  }, [wrap]);
  const wrapped = useRef(wrap);

  useLayoutEffect(() => scroller.current?.style.setProperty('--columns', String(columns.length)), [columns.length]);

  // Only elements of one height: the virtual list observes an element for one row, as long as it is there.
  const reused = props.moving === true && !wrap && !narrow.value;
  const items = rows.getVirtualItems();
  const last = items.at(-1);
  useLayoutEffect(() => {
    if (last && last.index >= events.length - 20) props.onEnd?.();
  }, [last?.index, events.length]);

  // The virtual list corrects its position for rows above that were measured. A list that keeps to its end must not be moved so.
  rows.shouldAdjustScrollPositionOnItemSizeChange = props.moving ? () => false : undefined;
  // Rows have their heights only once they are elements, so the end moves after it was scrolled to. It also moves with the list's own height.
  const body = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!props.moving || !body.current) return;
    const toEnd = () => {
      if (scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
    };
    toEnd();
    const observer = new ResizeObserver(toEnd);
    observer.observe(body.current);
    if (scroller.current) observer.observe(scroller.current);
    return () => observer.disconnect();
  }, [props.moving, events]);
  useLayoutEffect(() => {
    if (body.current) body.current.style.height = `${rows.getTotalSize()}px`;
  });
  // What a person expands may be below the end of the list.
  const expandedBefore = useRef(expanded);
  useLayoutEffect(() => {
    for (const eventId of expanded) if (!expandedBefore.current.has(eventId)) document.getElementById(`row-${eventId}`)?.scrollIntoView({ block: 'nearest' });
    expandedBefore.current = expanded;
  }, [expanded]);
  useLayoutEffect(() => {
    if (isAwaited && document.activeElement === document.body) scroller.current?.focus({ preventScroll: true });
    isAwaited = false;
  }, []);
  // Elements that are gone are no longer observed.
  useLayoutEffect(() => rows.measureElement(null));

  const activeId = props.selected === '' ? undefined : `row-${props.selected}`;
  return (
    <div class={`event-list ${wrap ? 'wrapped' : ''} dates-${props.dates}`} ref={scroller} tabIndex={0} role="grid" aria-label={props.label}
      aria-rowcount={events.length + 1} aria-activedescendant={activeId}
      onScroll={(event) => {
        if (kept) kept.scrollTop = event.currentTarget.scrollTop;
        props.onScroll?.(event.currentTarget);
      }}>
      <Header columns={columns} onRemove={props.onRemoveColumn} />
      <div class="event-rows" role="rowgroup" ref={body}>
        {items.map((item, slot) => {
          const event = events[item.index];
          return event && <EventRow key={reused ? slot : event.eventId} event={event} item={item} rows={rows} list={props} open={expanded.has(event.eventId)} />;
        })}
      </div>
      {props.footer && <div class="event-footer">{props.footer}</div>}
    </div>
  );
}

function Header({ columns, onRemove }: { columns: readonly string[]; onRemove: ((column: string) => void) | undefined }) {
  return (
    <div class="event-head" role="rowgroup">
      <div class="event-line" role="row" aria-rowindex={1}>
        <span role="columnheader" class="cell-toggle"><span class="off-screen">Expand</span></span>
        <span role="columnheader" class="cell-time">Time</span>
        <span role="columnheader" class="cell-level">Level</span>
        <span role="columnheader" class="cell-source">Source</span>
        {columns.map((column) => (
          <span key={column} role="columnheader" class="cell-column" title={plain(column)}>
            <span class="column-name">{plain(column)}</span>
            {onRemove && <button type="button" class="bare" aria-label={`Remove the column ${plain(column)}`} onClick={() => onRemove(column)}><Icon name="close" /></button>}
          </span>
        ))}
        <span role="columnheader" class="cell-message">Message</span>
      </div>
    </div>
  );
}

interface RowProps {
  event: StoredEvent;
  item: VirtualItem;
  rows: Rows;
  list: EventListProps;
  open: boolean;
}

function EventRow({ event, item, rows, list, open }: RowProps) {
  const selected = list.selected === event.eventId;
  const cut = event.message.length > ROW_CHARACTERS_MAX ? `${event.message.slice(0, ROW_CHARACTERS_MAX)}…` : event.message;
  return (
    <div id={`row-${event.eventId}`} role="row" aria-rowindex={item.index + 2} aria-selected={selected} data-index={item.index}
      class={`event-row level-${event.level} ${selected ? 'selected' : ''} ${open ? 'open' : ''} ${list.firstNew === event.eventId && item.index > 0 ? 'first-new' : ''}`}
      ref={(element) => {
        if (!element) return;
        element.style.transform = `translateY(${item.start}px)`;
        if (mayDiffer(event.eventId, rows, list.wrap || open)) rows.measureElement(element);
      }}>
      <div class="event-line" role="presentation" onClick={(click) => {
        if (isSelecting() || (click.target as Element).closest('button')) return;
        list.onOpen(event.eventId);
      }}>
        <span role="gridcell" class="cell-toggle">
          <button type="button" class="bare" tabIndex={-1} aria-label={open ? 'Collapse' : 'Expand'} aria-expanded={open}
            onClick={() => { list.onSelect(event.eventId); list.onToggle(event.eventId); }}>
            <Icon name={open ? 'down' : 'right'} />
          </button>
        </span>
        <span role="gridcell" class="cell-time" title={exact(event.timestamp, list.zone)}>{list.dates !== 'none' && <span class="date">{day(event.timestamp, list.zone)} </span>}{clock(event.timestamp, list.zone)}</span>
        <span role="gridcell" class="cell-level"><span class="level">{event.level}</span></span>
        <span role="gridcell" class="cell-source" title={plain(event.source)}>{plain(event.source)}</span>
        {list.columns.map((column) => <ColumnCell key={column} text={columnText(event, column)} />)}
        <span role="gridcell" class="cell-message"><LogText text={list.wrap ? cut : oneLine(cut)} terms={list.terms} /></span>
      </div>
      {open && <Expanded event={event} terms={list.terms} onOpen={() => list.onOpen(event.eventId)} />}
    </div>
  );
}

/** Whether a row may have another height than all rows have; measuring those would cost a layout for each of them. */
function mayDiffer(eventId: string, rows: Rows, tall: boolean): boolean {
  const measured = rows.itemSizeCache.get(eventId);
  return tall || narrow.peek() || (measured !== undefined && measured !== ROW_HEIGHT_PX);
}

function ColumnCell({ text }: { text: string }) {
  const shown = plain(text.slice(0, 300));
  return <span role="gridcell" class="cell-column" title={shown}>{shown}</span>;
}

function Expanded({ event, terms, onOpen }: { event: StoredEvent; terms: readonly string[]; onOpen: () => void }) {
  const fields = metadataFields(event.metadata);
  return (
    <div class="event-expanded" role="gridcell">
      <LogBlock text={event.message} terms={terms} label="Message" />
      {event.stackTrace && <LogBlock text={event.stackTrace} terms={terms} label="Stack trace" lines />}
      <dl class="inline-fields">
        {event.traceId && <div><dt>traceId</dt><dd>{event.traceId}</dd></div>}
        {fields.slice(0, 40).map((field) => (
          <div key={field.name}><dt>{plain(field.name)}</dt><dd>{field.values.map((value) => plain(value.text.slice(0, 500))).join(', ')}</dd></div>
        ))}
      </dl>
      <button type="button" class="link" onClick={onOpen}>Open the event</button>
    </div>
  );
}

/** Line ends within a row of one line become spaces; indentation of the next line goes too. */
function oneLine(text: string): string {
  return text.includes('\n') ? text.replace(/\s*\n\s*/g, ' ⏎ ') : text;
}

function isSelecting(): boolean {
  return getSelection()?.type === 'Range';
}
