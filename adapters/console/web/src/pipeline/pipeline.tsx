// Pipeline: the processes between a client and the store, how they do, and what a fault means.
import { useEffect, useState } from 'preact/hooks';
import { type ApiError, asApiError, get } from '../api/client';
import { zone } from '../state/settings';
import { follow, href, START } from '../state/place';
import { counted, grouped, rate, short } from '../text/numbers';
import { plain } from '../text/pieces';
import { ago, clock, exact } from '../text/time';
import { Icon } from '../ui/icons';
import { Failure } from '../ui/notice';
import { note } from './badge';
import { BusBox, ConsumerBox, GatewayBox, hasLag, ProducerBox, StoreBox } from './boxes';
import { Runbook, RunbookLink } from './runbook';
import { addressOf, type Alert, alerts, type Fleet, type Instance, isWithoutBus, type Outage, total, withRole } from './fleet';

const POLL_MS = 2_000;
const LETTERS = { ...START, view: 'dead-letters' } as const;

export function Pipeline() {
  const [fleet, setFleet] = useState<Fleet | undefined>();
  const [error, setError] = useState<ApiError | undefined>();
  const [run, setRun] = useState(0);
  useEffect(() => {
    const broken = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async () => {
      try {
        if (!document.hidden) {
          const found = await get('/actuator/fleet', { signal: broken.signal });
          setFleet(found);
          note(found);
        }
        setError(undefined);
      } catch (failure) {
        const known = asApiError(failure);
        if (!known) return;
        setError(known);
        if (known.status === 403 || known.status === 401 || known.status === 404) return;
      }
      timer = setTimeout(() => void ask(), POLL_MS);
    };
    void ask();
    return () => {
      broken.abort();
      clearTimeout(timer);
    };
  }, [run]);

  if (!fleet) return <div class="page"><h1>Pipeline</h1>{error ? <Failure error={error} retry={() => setRun(run + 1)} /> : <p class="fine" role="status">Asking the instances…</p>}</div>;
  return (
    <div class="page pipeline">
      <header class="page-head">
        <div>
          <h1>Pipeline</h1>
          <p class="muted">From clients to the store, as of {clock(fleet.at, zone.value).slice(0, 8)}. Rates are of the last {Math.round(fleet.instances.find((one) => one.report?.rateSeconds)?.report?.rateSeconds ?? 10)} s.</p>
        </div>
      </header>
      {error && <div class="stale" role="alert"><Icon name="warning" />{error.message} What is shown is old.</div>}
      <Verdict fleet={fleet} />
      <Flow fleet={fleet} />
      {fleet.instancesLeftOut > 0 && <p class="fine">{grouped(fleet.instancesLeftOut)} more instances were not asked.</p>}
      <Alerts fleet={fleet} />
      <Runbook />
    </div>
  );
}

/** What matters most, for a person who was woken up. */
function Verdict({ fleet }: { fleet: Fleet }) {
  const outages = fleet.instances.flatMap((instance) => (instance.report?.producer?.outage ? [{ outage: instance.report.producer.outage, instance }] : []));
  const faults = faultsOf(fleet, outages.length > 0);
  const lost = total(fleet.instances, (report) => report.producer?.lost) ?? 0;
  if (lost === 0 && outages.length === 0 && faults.length === 0) return <NoFaults alerts={alerts(fleet).length} />;
  return (
    <>
      {lost > 0 && <div class="verdict bad" role="status"><h2>{grouped(lost)} accepted events are lost</h2><p><RunbookLink path="docs/runbooks/events_lost.md" /> It says what to do.</p></div>}
      {outages.map(({ outage, instance }) => <OutageCard key={addressOf(instance)} outage={outage} of={outages.length > 1 ? instance : undefined} />)}
      {faults.length > 0 && <FaultsCard faults={faults} of={fleet.instances.length} />}
    </>
  );
}

interface Fault {
  instance: Instance;
  text: string;
}

/** The components that are down, and the instances that do not answer. `inOutage`: the fault of the bus is told already. */
function faultsOf(fleet: Fleet, inOutage: boolean): Fault[] {
  return fleet.instances.flatMap((instance) => {
    if (instance.status === 'UNREACHABLE') return [{ instance, text: instance.problem ?? 'no answer' }];
    const down = Object.entries(instance.report?.components ?? {}).filter(([name, component]) => component.status !== 'UP' && !(inOutage && name === 'bus'));
    return down.map(([name, component]) => ({ instance, text: `${name}: ${component.detail ?? 'down'}` }));
  });
}

function NoFaults({ alerts }: { alerts: number }) {
  if (alerts === 0) return <div class="verdict good" role="status"><h2>Everything works</h2><p>Events are accepted, published and stored.</p></div>;
  return <div class="verdict fair" role="status"><h2>{counted(alerts, 'alert')} to look at</h2><p>All instances work: events are accepted, published and stored. The alerts are below.</p></div>;
}

function FaultsCard({ faults, of }: { faults: readonly Fault[]; of: number }) {
  const instances = [...new Set(faults.map(({ instance }) => instance))];
  const unreachable = instances.filter(({ status }) => status === 'UNREACHABLE').length;
  const down = instances.length - unreachable;
  return (
    <div class={`verdict ${down > 0 ? 'bad' : 'fair'}`} role="status">
      <h2>{[down > 0 ? `${grouped(down)} of ${grouped(of)} instances report a fault` : '', unreachable > 0 ? `${grouped(unreachable)} of ${grouped(of)} instances cannot be reached` : ''].filter(Boolean).join(', ')}</h2>
      <ul>{faults.map(({ instance, text }) => <li key={`${addressOf(instance)}${text}`}>{instance.role} {addressOf(instance)}: {plain(text)}</li>)}</ul>
    </div>
  );
}

/** There are outages of Kafka only: the embedded log is part of the process. */
function OutageCard({ outage, of }: { outage: Outage; of: Instance | undefined }) {
  const away = outage.state === 'away';
  return (
    <div class={`verdict ${away ? 'bad' : 'fair'}`} role="status">
      <h2>{away ? 'Kafka takes no records: accepted events are kept on disk' : 'Kafka is back: kept events are being sent'}{of && ` (${addressOf(of)})`}</h2>
      <p>{plain(outage.summary)}</p>
      {outage.reason && <p class="fine">Reason: {plain(outage.reason)}</p>}
      {away && <p><RunbookLink path="docs/runbooks/breaker_open.md" /></p>}
    </div>
  );
}

function Flow({ fleet }: { fleet: Fleet }) {
  const gateways = withRole(fleet, 'gateway');
  const producers = withRole(fleet, 'producer');
  const consumers = withRole(fleet, 'consumer');
  const lag = total(consumers, (report) => (report.consumer && hasLag(report.consumer) ? report.consumer.lagRecords : undefined));
  return (
    <div class="flow">
      <Stage title="Gateway">{gateways.map((instance) => <GatewayBox key={addressOf(instance)} instance={instance} />)}</Stage>
      <Arrow label={rate(total(producers, (report) => report.producer?.acceptedPerSecond))} what="accepted" />
      <Stage title={producers.length > 1 ? 'Producers' : 'Producer'}>{producers.map((instance) => <ProducerBox key={addressOf(instance)} instance={instance} />)}</Stage>
      <Arrow label={rate(total(producers, (report) => report.producer?.publishedPerSecond))} what="published" broken={producers.some(isWithoutBus)} />
      <Stage title="Bus"><BusBox producers={producers} consumers={consumers} /></Stage>
      <Arrow label={lag === undefined ? '–' : short(lag)} what="lag" />
      <Stage title={consumers.length > 1 ? 'Consumers' : 'Consumer'}>{consumers.map((instance) => <ConsumerBox key={addressOf(instance)} instance={instance} />)}</Stage>
      <Arrow label={rate(total(consumers, (report) => report.consumer?.storedPerSecond))} what="stored" />
      <Stage title="Store"><StoreBox consumers={consumers} /></Stage>
    </div>
  );
}

function Stage({ title, children }: { title: string; children: preact.ComponentChildren }) {
  return <section class="stage" aria-label={title}><h2>{title}</h2>{children}</section>;
}

function Arrow({ label, what, broken = false }: { label: string; what: string; broken?: boolean }) {
  return (
    <div class={`arrow ${broken ? 'broken' : ''}`}>
      <span class="arrow-rate">{label}</span>
      <span class="arrow-line" aria-hidden="true" />
      <span class="arrow-what">{broken ? `${what}: stopped` : what}</span>
    </div>
  );
}

function Alerts({ fleet }: { fleet: Fleet }) {
  const firing = alerts(fleet);
  const leftOut = total(fleet.instances, (report) => report.alertsLeftOut) ?? 0;
  const isWell = fleet.instances.every(({ status }) => status === 'UP');
  return (
    <section class="alerts" aria-label="Firing alerts">
      <h2>Firing alerts {firing.length > 0 && <span class="count">{grouped(firing.length + leftOut)}</span>}</h2>
      {firing.length === 0 && <p class="muted">{isWell ? 'None. Alerts that a process raises by itself appear here with their runbook.' : 'None yet. The instances report the fault above; an alert may follow.'}</p>}
      <ul>{firing.map(({ alert, instance }) => <AlertLine key={`${addressOf(instance)}${alert.name}${alert.since}`} alert={alert} instance={instance} />)}</ul>
    </section>
  );
}

function AlertLine({ alert, instance }: { alert: Alert; instance: Instance }) {
  const { runbook } = alert;
  const hasLetters = alert.name === 'dead_letters';
  return (
    <li class={`alert ${alert.severity}`}>
      <div class="alert-head">
        <span class="severity">{alert.severity}</span>
        <strong class="mono">{alert.name}</strong>
        <span class="muted">{instance.role} {addressOf(instance)}</span>
        <span class="alert-since" title={exact(alert.since, zone.value)}>since {ago(alert.since).replace(' ago', '')}</span>
      </div>
      <p>{plain(alert.summary)}</p>
      <dl class="inline-fields">{Object.entries(alert.details).filter(([name]) => name !== 'runbook').map(([name, text]) => <div key={name}><dt>{plain(name)}</dt><dd>{plain(text)}</dd></div>)}</dl>
      {(runbook || hasLetters) && <p class="runbook">{hasLetters && <a href={href(LETTERS)} onClick={follow(LETTERS)}>Show the dead letters</a>}{runbook && <RunbookLink path={runbook} />}</p>}
    </li>
  );
}
