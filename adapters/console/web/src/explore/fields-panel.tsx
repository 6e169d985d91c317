// The fields of the matching events and their most frequent values. A click includes or excludes a value.
import { useEffect, useState } from 'preact/hooks';
import { type ApiError, asApiError, type FieldValues, get, type LogFields } from '../api/client';
import { go, place } from '../state/place';
import { showHistogram } from '../state/settings';
import { grouped, short } from '../text/numbers';
import { plain } from '../text/pieces';
import { Icon } from '../ui/icons';
import { condition, negated, searchParameters, withCondition } from './query';
import type { Results } from './results';
import { knownFields } from './suggestions';

const VALUES_MAX = 10;
const IDS = ['traceId', 'spanId'];

export function FieldsPanel({ results }: { results: Results }) {
  const [fields, setFields] = useState<LogFields | undefined>();
  const [error, setError] = useState<ApiError | undefined>();
  const [text, setText] = useState('');
  // Which are open outlasts a search: a person looks at the same fields of the next one.
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set(['source']));

  // Events and histogram come first: the counts of fields would compete with them for the store.
  const isNext = results.tookMs.value !== undefined && (!showHistogram.value || results.stats.value !== undefined || results.statsError.value !== undefined);
  useEffect(() => {
    if (!isNext) return;
    const broken = new AbortController();
    setError(undefined);
    get('/api/logs/fields', { query: searchParameters(results.place), signal: broken.signal })
      .then((found) => {
        setFields(found);
        knownFields.value = found.fields.map((field) => field.name);
      })
      .catch((error: unknown) => setError(asApiError(error)));
    return () => broken.abort();
  }, [results, isNext]);

  const found = fields?.fields.map((field) => field.name) ?? [];
  // Ids have a value for each event or trace: they come last.
  const names = ['source', ...found.filter((name) => !IDS.includes(name)), ...found.filter((name) => IDS.includes(name))];
  const shown = names.filter((name) => name.toLowerCase().includes(text.toLowerCase()));
  const toggle = (name: string) => {
    const next = new Set(open);
    if (!next.delete(name)) next.add(name);
    setOpen(next);
  };
  return (
    <section class="fields" aria-label="Fields">
      <div class="fields-head">
        <h2>Fields</h2>
        <input type="search" placeholder="Find a field" aria-label="Find a field" value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </div>
      <ul>
        {shown.map((name) => (
          <FieldEntry key={name} name={name} share={shareOf(name, fields)}
            open={open.has(name)} isNext={isNext} onToggle={() => toggle(name)} results={results} />
        ))}
      </ul>
      {fields && fields.fields.length === 0 && fields.events > 0 && <p class="fine">The events have no other fields.</p>}
      {fields && !fields.complete && <p class="fine">Fields of the newest {grouped(fields.events)} events. Values are counted over the whole range.</p>}
      {error && <p class="fine failure-text">{error.message}</p>}
    </section>
  );
}

/** Every event has a source, so the fields are counted without it. */
function shareOf(name: string, fields: LogFields | undefined): number | undefined {
  const events = name === 'source' ? fields?.events : fields?.fields.find((field) => field.name === name)?.events;
  return events === undefined || !fields?.events ? undefined : events / fields.events;
}

function percent(share: number): string {
  if (share < 0.01) return '<1 %';
  return share < 1 && share >= 0.995 ? '>99 %' : `${Math.round(share * 100)} %`;
}

interface FieldEntryProps {
  name: string;
  share: number | undefined;
  open: boolean;
  /** Whether its values may be asked for. */
  isNext: boolean;
  onToggle: () => void;
  results: Results;
}

function FieldEntry({ name, share, open, isNext, onToggle, results }: FieldEntryProps) {
  const isColumn = place.value.columns.includes(name);
  const toggleColumn = () => go({ columns: isColumn ? place.peek().columns.filter((column) => column !== name) : [...place.peek().columns, name] }, 'replace');
  return (
    <li class={`field ${open ? 'open' : ''}`}>
      <div class="field-line">
        <button type="button" class="field-name" aria-expanded={open} onClick={onToggle} title={plain(name)}>
          <Icon name={open ? 'down' : 'right'} />
          <span>{plain(name)}</span>
        </button>
        {share !== undefined && <span class="share" title="Share of the events that have the field">{percent(share)}</span>}
        {name !== 'source' && (
          <button type="button" class={`bare ${isColumn ? 'on' : ''}`} aria-pressed={isColumn} aria-label={`Show ${plain(name)} as a column`} title={isColumn ? 'Remove the column' : 'Show as a column'} onClick={toggleColumn}>
            <Icon name="column" />
          </button>
        )}
      </div>
      {open && isNext && <Values name={name} results={results} />}
    </li>
  );
}

function Values({ name, results }: { name: string; results: Results }) {
  const [values, setValues] = useState<FieldValues | undefined>();
  const [error, setError] = useState<ApiError | undefined>();
  const counted = results.stats.value;
  useEffect(() => {
    const broken = new AbortController();
    setError(undefined);
    // For all time the range is that of the statistics: without a beginning, values are counted over an hour.
    const from = results.place.from === '' ? { from: counted?.from ?? 'first' } : {};
    get('/api/logs/values', { query: { ...searchParameters(results.place), ...from, field: name, limit: VALUES_MAX }, signal: broken.signal })
      .then(setValues)
      .catch((error: unknown) => setError(asApiError(error)));
    return () => broken.abort();
  }, [results, name, counted?.from]);

  if (error) return <p class="fine failure-text">{error.message}</p>;
  if (!values) return <p class="fine">Counting…</p>;
  if (values.values.length === 0) return <p class="fine">No values in this range.</p>;
  const total = values.values.reduce((sum, one) => sum + one.events, values.other);
  return (
    <ul class="values">
      {values.values.map(({ value, events }) => <ValueEntry key={value} field={name} value={value} events={events} total={total} />)}
      {values.other > 0 && <li class="value other"><span>other values</span><span class="count">{short(values.other)}</span></li>}
    </ul>
  );
}

function ValueEntry({ field, value, events, total }: { field: string; value: string; events: number; total: number }) {
  const add = (text: string) => go({ where: withCondition(place.peek().where, text) });
  const included = condition(field, value);
  const shown = value === '' ? '(empty)' : plain(value);
  return (
    <li class="value" title={`${shown}: ${grouped(events)} events`}>
      <span class="value-bar" ref={(element) => { if (element) element.style.width = `${(100 * events) / Math.max(1, total)}%`; }} />
      <button type="button" class="value-name" onClick={() => add(included)} aria-label={`Only ${field} ${shown}`}>{shown}</button>
      <span class="count">{short(events)}</span>
      <button type="button" class="bare" aria-label={`Without ${field} ${shown}`} title="Exclude" onClick={() => add(negated(included))}><Icon name="minus" /></button>
    </li>
  );
}
