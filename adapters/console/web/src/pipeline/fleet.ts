// The answer of `GET /actuator/fleet`: what each process is and how it does.
//
// The types follow adapters/http/src/openapi/fleet.rs, with only the members that the page shows. A member without a value is absent.
export interface Usage {
  usedBytes: number;
  bytesMax: number;
}

export interface Outage {
  state: 'away' | 'replaying';
  reason?: string;
  /** Whole sentences to show. */
  summary: string;
}

export interface Journal extends Usage {
  events: number;
  oldestAgeSeconds?: number;
  growthBytesPerSecond?: number;
  fullInSeconds?: number;
}

interface Serving {
  requestsPerSecond?: number;
  connections: number;
}

export interface ProducerPart extends Serving {
  ready: boolean;
  acceptedPerSecond?: number;
  refusedPerSecond?: number;
  publishedPerSecond?: number;
  accepted: number;
  refused: number;
  rejected: number;
  lost: number;
  bus: 'kafka' | 'embedded';
  breakers: { name: string; state: 'closed' | 'open' | 'half_open'; opened: number }[];
  buffer: Usage;
  space: Usage;
  buffered: number;
  journal?: Journal;
  outage?: Outage;
}

export interface ConsumerPart extends Serving {
  storedPerSecond?: number;
  stored: number;
  deduplicated: number;
  deadLetters: number;
  lagRecords: number;
  /** Absent if nothing lags. */
  lagAgeSeconds?: number;
  partitions: number;
}

export interface Alert {
  name: string;
  severity: 'warning' | 'critical';
  since: string;
  summary: string;
  runbook?: string;
  details: Record<string, string>;
}

export interface Report {
  role: string;
  version: string;
  startedAt: string;
  uptimeSeconds: number;
  status: 'UP' | 'DOWN';
  ready: boolean;
  components: Record<string, { status: string; detail?: string }>;
  memoryBytes?: number;
  rateSeconds?: number;
  dataDir?: Usage;
  gateway?: Serving;
  producer?: ProducerPart;
  consumer?: ConsumerPart;
  alerts: Alert[];
  alertsLeftOut: number;
}

export interface Instance {
  role: string;
  url?: string;
  address: string;
  status: 'UP' | 'DOWN' | 'UNREACHABLE';
  routing?: { state: 'available' | 'unready' | 'ejected'; underWay: number; latencyMs: number };
  report?: Report;
  problem?: string;
}

export interface Fleet {
  at: string;
  instances: Instance[];
  instancesLeftOut: number;
}

export type Role = 'gateway' | 'producer' | 'consumer';

/** The instances that have a role; a process with all roles has each of them. */
export function withRole(fleet: Fleet, role: Role): Instance[] {
  return fleet.instances.filter((instance) => instance.role === role || (instance.role === 'all' && (!instance.report || instance.report[role] !== undefined)));
}

/** The sum of a rate over instances; `undefined` as long as none of them has one. */
export function total(instances: readonly Instance[], rate: (report: Report) => number | undefined): number | undefined {
  const known = instances.flatMap((instance) => (instance.report ? [rate(instance.report)] : [])).filter((one) => one !== undefined);
  return known.length === 0 ? undefined : known.reduce((sum, one) => sum + one, 0);
}

/** All firing alerts, critical ones first. */
export function alerts(fleet: Fleet): { alert: Alert; instance: Instance }[] {
  const all = fleet.instances.flatMap((instance) => (instance.report?.alerts ?? []).map((alert) => ({ alert, instance })));
  return all.sort((a, b) => Number(b.alert.severity === 'critical') - Number(a.alert.severity === 'critical') || a.alert.since.localeCompare(b.alert.since));
}
