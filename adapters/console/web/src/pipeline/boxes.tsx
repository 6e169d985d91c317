// The boxes of the pipeline: one for each instance of a role, one for the bus and one for the store.
import type { ComponentChildren } from 'preact';
import { follow, href, START } from '../state/place';
import { atLeast, bytes, duration, grouped, rate, short } from '../text/numbers';
import { plain } from '../text/pieces';
import { waiting } from './badge';
import { addressOf, type ConsumerPart, type Instance, isWithoutBus, type Journal, titleOf, type Usage } from './fleet';

/** A component of health that belongs to another box than that of its process. */
const ELSEWHERE: Record<string, readonly string[]> = { gateway: ['upstreams'], producer: ['bus', 'disk', 'journal', 'limiter'], consumer: ['bus', 'store'] };

interface BoxProps {
  instance: Instance;
  role: 'gateway' | 'producer' | 'consumer';
  children?: ComponentChildren;
}

function Box({ instance, role, children }: BoxProps) {
  const { report, routing } = instance;
  const components = Object.entries(report?.components ?? {}).filter(([name]) => instance.role !== 'all' || ELSEWHERE[role]?.includes(name));
  const faults = components.filter(([, component]) => component.status !== 'UP');
  // The fault is that of the box of the bus. The embedded log is part of the process.
  const waits = report?.ready === true && report.producer?.bus !== 'embedded' && faults.length > 0 && faults.every(([name]) => name === 'bus');
  const state = instance.status === 'UNREACHABLE' ? 'unreachable' : waits ? 'fair' : faults.length > 0 || (report && !report.ready) ? 'down' : 'up';
  const word = { unreachable: 'not reachable', fair: 'waits for Kafka', down: report?.ready ? 'fault' : 'not ready', up: 'up' }[state];
  return (
    <article class={`box ${state}`}>
      <header>
        <span class="status-dot" aria-hidden="true" />
        <span class="box-address mono" title={instance.url ?? addressOf(instance)}>{titleOf(instance)}</span>
        <span class="box-state">{word}</span>
      </header>
      {instance.problem && <p class="fault">{plain(instance.problem)}</p>}
      {faults.map(([name, component]) => <p key={name} class="fault"><strong>{name}</strong> {plain(component.detail ?? 'down')}</p>)}
      {children}
      {routing && routing.state !== 'available' && <p class="fault">{routing.state === 'ejected' ? 'The gateway sends it nothing because it failed.' : 'It asks for no requests.'}</p>}
      {report && <footer>{[report.version, `up ${duration(report.uptimeSeconds)}`, report.memoryBytes === undefined ? '' : `${bytes(report.memoryBytes)} of memory`, routing ? `answers in ${latency(routing.latencyMs)}` : ''].filter(Boolean).map((fact) => <span key={fact}>{fact}</span>)}</footer>}
    </article>
  );
}

function latency(ms: number): string {
  return ms < 1 ? '<1 ms' : duration(ms / 1000);
}

function Figure({ name, value, bad = false }: { name: string; value: ComponentChildren; bad?: boolean }) {
  return <div class={`figure ${bad ? 'bad' : ''}`}><dt>{name}</dt><dd>{value}</dd></div>;
}

/** How full something is. */
function Meter({ name, usage, text }: { name: string; usage: Usage; text?: string }) {
  const share = usage.bytesMax > 0 ? usage.usedBytes / usage.bytesMax : 0;
  const percent = Math.round(100 * share);
  return (
    <div class={`meter ${share > 0.9 ? 'bad' : share > 0.7 ? 'fair' : ''}`}>
      <div class="meter-text"><span>{name}</span><span>{text ?? `${bytes(usage.usedBytes)} of ${bytes(usage.bytesMax)}`}</span></div>
      <div class="meter-track" role="meter" aria-label={name} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent}><span ref={(element) => { if (element) element.style.width = `${Math.min(100, Math.max(share > 0 ? 1 : 0, percent))}%`; }} /></div>
    </div>
  );
}

export function GatewayBox({ instance }: { instance: Instance }) {
  const part = instance.report?.gateway;
  return (
    <Box instance={instance} role="gateway">
      {part && <dl><Figure name="requests" value={rate(part.requestsPerSecond)} /><Figure name="connections" value={grouped(part.connections)} /></dl>}
    </Box>
  );
}

export function ProducerBox({ instance }: { instance: Instance }) {
  const part = instance.report?.producer;
  return (
    <Box instance={instance} role="producer">
      {part && (
        <>
          <dl>
            <Figure name="accepted" value={rate(part.acceptedPerSecond)} />
            <Figure name="refused" value={rate(part.refusedPerSecond)} bad={(part.refusedPerSecond ?? 0) > 0} />
            <Figure name="published" value={rate(part.publishedPerSecond)} />
            {part.rejected > 0 && <Figure name="rejected by the bus" value={grouped(part.rejected)} bad />}
            {part.lost > 0 && <Figure name="lost" value={grouped(part.lost)} bad />}
          </dl>
          {part.journal && part.journal.events > 0 && <JournalMeter journal={part.journal} />}
          {part.journal?.events === 0 && <Figure name="journal" value="empty" />}
          <Meter name="buffer" usage={part.buffer} />
          {!part.journal && <Meter name="log space" usage={part.space} />}
        </>
      )}
    </Box>
  );
}

function JournalMeter({ journal }: { journal: Journal }) {
  const facts = [
    `${grouped(journal.events)} events wait`,
    journal.oldestAgeSeconds === undefined ? '' : `the oldest for ${duration(journal.oldestAgeSeconds)}`,
    journal.fullInSeconds === undefined ? '' : `full in ${duration(journal.fullInSeconds)}`,
  ];
  return (
    <>
      <Meter name="journal" usage={journal} />
      <p class="fine">{facts.filter(Boolean).join(', ')}</p>
    </>
  );
}

export function BusBox({ producers, consumers }: { producers: readonly Instance[]; consumers: readonly Instance[] }) {
  const parts = producers.flatMap((instance) => (instance.report?.producer ? [instance.report.producer] : []));
  const first = parts[0];
  if (!first) return <article class="box unknown"><header><span class="status-dot" aria-hidden="true" /><span>unknown</span></header><p class="fine">No producer answers.</p></article>;
  const breakers = parts.flatMap((part) => part.breakers);
  const open = breakers.filter((breaker) => breaker.state === 'open').length;
  const halfOpen = breakers.filter((breaker) => breaker.state === 'half_open').length;
  const cannotSend = producers.some(isWithoutBus);
  const away = cannotSend || consumers.some(isWithoutBus);
  const kafka = first.bus === 'kafka';
  const state = away ? 'down' : halfOpen > 0 ? 'fair' : 'up';
  return (
    <article class={`box ${state}`}>
      <header><span class="status-dot" aria-hidden="true" /><span class="box-address">{kafka ? 'Kafka' : 'Embedded log'}</span><span class="box-state">{away ? (kafka ? 'away' : 'fault') : halfOpen > 0 ? 'trying again' : 'up'}</span></header>
      <dl>
        {breakers.length > 0 && <Figure name="breaker" value={open > 0 ? `open${parts.length > 1 ? ` at ${open} of ${parts.length}` : ''}` : halfOpen > 0 ? 'half-open' : 'closed'} bad={open > 0} />}
        {first.bus === 'embedded' && <Figure name="log space used" value={`${Math.round((100 * first.space.usedBytes) / Math.max(1, first.space.bytesMax))} %`} />}
      </dl>
      {away && kafka && <p class="fine">{cannotSend ? 'Producers keep accepted events in their journals, and try again within a minute.' : 'A consumer does not reach it.'}</p>}
    </article>
  );
}

/** The alert consumer_lag_high fires beyond it. */
const LAG_SECONDS_MAX = 60;

/** A consumer without partitions, such as one that does not reach the bus, knows of no lag. */
export function hasLag({ partitions }: ConsumerPart): boolean {
  return partitions > 0;
}

function lag(part: ConsumerPart): string {
  const { lagRecords, lagAgeSeconds } = part;
  if (!hasLag(part)) return '–';
  if (lagRecords === 0) return 'none';
  return lagAgeSeconds === undefined ? `${short(lagRecords)} records` : `${short(lagRecords)} records, ${duration(lagAgeSeconds)}`;
}

export function ConsumerBox({ instance }: { instance: Instance }) {
  const part = instance.report?.consumer;
  return (
    <Box instance={instance} role="consumer">
      {part && (
        <dl>
          <Figure name="stored" value={rate(part.storedPerSecond)} />
          <Figure name="lag" value={lag(part)} bad={(part.lagAgeSeconds ?? 0) > LAG_SECONDS_MAX} />
          <Figure name="partitions" value={grouped(part.partitions)} />
          <DeadLetters found={part.deadLetters} />
          <Figure name="queries" value={rate(part.requestsPerSecond)} />
        </dl>
      )}
    </Box>
  );
}

/** Those that wait in the store that all consumers share, or else those that this one found since its start. */
function DeadLetters({ found }: { found: number }) {
  const letters = waiting.value;
  const place = { ...START, view: 'dead-letters' } as const;
  const text = letters ? `${letters.count === 0 ? 'none' : atLeast(letters)} waiting` : `${grouped(found)} since start`;
  return <Figure name="dead letters" value={<a href={href(place)} onClick={follow(place)}>{text}</a>} bad={letters ? letters.count > 0 : found > 0} />;
}

export function StoreBox({ consumers }: { consumers: readonly Instance[] }) {
  const reports = consumers.flatMap((instance) => (instance.report ? [instance.report] : []));
  const fault = reports.map((report) => report.components.store).find((store) => store && store.status !== 'UP');
  const known = reports.length > 0;
  const stored = reports.reduce((sum, report) => sum + (report.consumer?.stored ?? 0), 0);
  return (
    <article class={`box ${fault ? 'down' : known ? 'up' : 'unknown'}`}>
      <header><span class="status-dot" aria-hidden="true" /><span class="box-address">Store</span><span class="box-state">{fault ? 'fault' : known ? 'up' : 'unknown'}</span></header>
      {fault && <p class="fault">{plain(fault.detail ?? 'down')}</p>}
      {known && <dl><Figure name="since start" value={short(stored)} /></dl>}
    </article>
  );
}
