// An event in full: message, stack trace and fields, each value with what can be done with it.
import type { StoredEvent } from '../api/client';
import { condition, negated, searchedTexts, type Value, withCondition } from '../explore/query';
import { go, place } from '../state/place';
import { zone } from '../state/settings';
import { duration } from '../text/numbers';
import { exact } from '../text/time';
import { plain } from '../text/pieces';
import { Icon } from '../ui/icons';
import { LogBlock, LogText } from '../ui/log-text';
import { copy } from '../ui/toast';
import { type Field, metadataFields } from './fields';

export function Details({ event }: { event: StoredEvent }) {
  const terms = searchedTexts(place.value.query);
  const own: Field[] = [
    { name: 'source', values: [{ text: event.source, type: 'text' }] },
    { name: 'level', values: [{ text: event.level, type: 'text' }] },
    ...(event.traceId ? [{ name: 'traceId', values: [{ text: event.traceId, type: 'text' as const }] }] : []),
    ...(event.spanId ? [{ name: 'spanId', values: [{ text: event.spanId, type: 'text' as const }] }] : []),
  ];
  const metadata = metadataFields(event.metadata);
  return (
    <>
      <section>
        <Heading title="Message" onCopy={() => void copy(event.message, 'Message')} />
        <LogBlock text={pretty(event.message)} terms={terms} label="Message" />
      </section>
      {event.stackTrace && (
        <section>
          <Heading title="Stack trace" onCopy={() => void copy(event.stackTrace ?? '', 'Stack trace')} />
          <LogBlock text={event.stackTrace} terms={terms} label="Stack trace" lines />
        </section>
      )}
      <section>
        <h3>Fields</h3>
        <FieldTable fields={own} />
        {metadata.length > 0 && <><h4>Metadata</h4><FieldTable fields={metadata} /></>}
      </section>
      <Origin event={event} />
    </>
  );
}

/** A message that is a JSON document is indented. */
function pretty(message: string): string {
  const text = message.trim();
  if (!/^[{[]/.test(text) || text.length > 100_000) return message;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return message;
  }
}

function Heading({ title, onCopy }: { title: string; onCopy: () => void }) {
  return <h3>{title}<button type="button" class="bare" aria-label={`Copy: ${title}`} title="Copy" onClick={onCopy}><Icon name="copy" /></button></h3>;
}

function FieldTable({ fields }: { fields: readonly Field[] }) {
  return (
    <table class="field-table">
      <tbody>
        {fields.map((field) => (
          <tr key={field.name}>
            <th scope="row">{plain(field.name)}</th>
            <td>{field.values.slice(0, 100).map((value, index) => <ValueLine key={index} name={field.name} value={value} />)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const VALUE_CHARACTERS_MAX = 2_000;

function ValueLine({ name, value }: { name: string; value: Value }) {
  const isColumn = place.value.columns.includes(name);
  const add = (text: string) => go({ view: 'explore', where: withCondition(place.peek().where, text) });
  const only = condition(name, value.text, value.type);
  const shown = value.text.slice(0, VALUE_CHARACTERS_MAX);
  return (
    <div class="value-line">
      <span class={`field-value ${value.type}`}><LogText text={shown} />{value.text.length > VALUE_CHARACTERS_MAX && '…'}</span>
      <span class="value-actions">
        <button type="button" class="bare" aria-label={`Only events with this ${plain(name)}`} title="Only events with this value" onClick={() => add(only)}><Icon name="plus" /></button>
        <button type="button" class="bare" aria-label={`Without events with this ${plain(name)}`} title="Without events with this value" onClick={() => add(negated(only))}><Icon name="minus" /></button>
        {name !== 'source' && name !== 'level' && (
          <button type="button" class={`bare ${isColumn ? 'on' : ''}`} aria-pressed={isColumn} aria-label={`Show ${plain(name)} as a column`} title={isColumn ? 'Remove the column' : 'Show as a column'}
            onClick={() => go({ columns: isColumn ? place.peek().columns.filter((one) => one !== name) : [...place.peek().columns, name] }, 'replace')}><Icon name="column" /></button>
        )}
        <button type="button" class="bare" aria-label={`Copy the value of ${plain(name)}`} title="Copy" onClick={() => void copy(value.text, plain(name))}><Icon name="copy" /></button>
      </span>
    </div>
  );
}

/** Where it came from, and how long that took. */
function Origin({ event }: { event: StoredEvent }) {
  const delay = (Date.parse(event.receivedAt) - Date.parse(event.timestamp)) / 1000;
  return (
    <section>
      <h3>Origin</h3>
      <dl class="origin">
        <div><dt>timestamp</dt><dd>{exact(event.timestamp, zone.value)}</dd></div>
        <div><dt>received</dt><dd>{exact(event.receivedAt, zone.value)}{Math.abs(delay) >= 0.001 && <span class="muted"> {duration(Math.abs(delay))} {delay >= 0 ? 'later' : 'earlier'}</span>}</dd></div>
        <div><dt>eventId</dt><dd>{event.eventId}</dd></div>
        <div><dt>position</dt><dd>topic {plain(event.topic)}, partition {event.partition}, offset {event.offset}</dd></div>
      </dl>
    </section>
  );
}
