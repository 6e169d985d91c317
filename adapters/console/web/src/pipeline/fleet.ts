// The answer of `GET /actuator/fleet`: what each process is and how it does.
import type { components } from '../api/schema';

export type Fleet = components['schemas']['Fleet'];
export type Instance = components['schemas']['FleetInstance'];
export type Report = components['schemas']['InstanceReport'];
export type Alert = components['schemas']['AlertReport'];
export type ConsumerPart = components['schemas']['ConsumerReport'];
export type Journal = components['schemas']['JournalReport'];
export type Outage = components['schemas']['OutageReport'];
/** How much of a bounded space is used. */
export type Usage = components['schemas']['SpaceReport'];

export type Role = 'gateway' | 'producer' | 'consumer';

/** The instances that have a role; a process with all roles has each of them. */
export function withRole(fleet: Fleet, role: Role): Instance[] {
  return fleet.instances.filter((instance) => instance.role === role || (instance.role === 'all' && (!instance.report || instance.report[role] !== undefined)));
}

/** Whether a process reports that it does not reach the bus. Its breaker may be closed then: it opens when a record fails. */
export function isWithoutBus({ report }: Instance): boolean {
  const bus = report?.components.bus;
  return (bus !== undefined && bus.status !== 'UP') || report?.producer?.outage?.state === 'away' || (report?.producer?.breakers.some((breaker) => breaker.state === 'open') ?? false);
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

/** Where an instance is: its address, or the URL that is configured if its name has no address. */
export function addressOf(instance: Instance): string {
  return instance.address || (instance.url ?? '');
}

/** The name of a role's box. One process may have all roles: they have no addresses of their own. */
export function titleOf(instance: Instance): string {
  return instance.role === 'all' ? 'in this process' : addressOf(instance);
}
