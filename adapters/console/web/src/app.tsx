// The frame of all views: navigation, settings, sign-in.
import { useEffect } from 'preact/hooks';
import { Shown } from './parts';
import { firing, waiting, watch } from './pipeline/badge';
import { isRestricted, learn, may, mustSignIn, session, sessionError, signOut } from './session/session';
import { SignIn } from './session/sign-in';
import { useKeys } from './state/keys';
import { follow, href, place, START, type View } from './state/place';
import { dark, theme, zone } from './state/settings';
import { atLeast, counted } from './text/numbers';
import { zoneName } from './text/time';
import { Help, helpOpen } from './ui/help';
import { Icon, Mark } from './ui/icons';
import { Menu } from './ui/menu';
import { Failure, Notice } from './ui/notice';
import { Toast } from './ui/toast';

const NAMES: Record<View, string> = { explore: 'Explore', tail: 'Tail', 'dead-letters': 'Dead letters', pipeline: 'Pipeline', send: 'Send' };
/** The role that a view needs (docs/access-control.md). */
const ROLES: Record<View, 'ingest' | 'read' | 'operate'> = { explore: 'read', tail: 'read', 'dead-letters': 'operate', pipeline: 'operate', send: 'ingest' };

export function App() {
  const known = session.value;
  if (!known) {
    const error = sessionError.value;
    return error ? <main class="alone"><Failure error={error} retry={() => void learn()} /></main> : null;
  }
  return mustSignIn(known) ? <SignIn /> : <Frame />;
}

function Frame() {
  const { view } = place.value;
  useKeys({ '?': () => { helpOpen.value = true; } });
  useEffect(() => {
    document.title = `${NAMES[view]} · Spillway`;
    document.querySelector('.top nav .on')?.scrollIntoView({ inline: 'nearest', block: 'nearest' });
  }, [view]);
  useEffect(() => (may('operate') && !isRestricted() ? watch() : undefined), [session.value]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')?.focus(); }}>Skip to the content</a>
      <header class="top">
        <a class="brand" href={location.pathname} onClick={follow(START)} aria-label="Spillway: start"><Mark /><span>Spillway</span></a>
        <nav aria-label="Views">{(Object.keys(NAMES) as View[]).map((name) => <ViewLink key={name} name={name} on={view === name} />)}</nav>
        <div class="top-end">
          <button type="button" class="icon-button text" title="Time zone of all times" onClick={() => { zone.value = zone.peek() === 'utc' ? 'local' : 'utc'; }}>{zoneName(zone.value)}</button>
          <ThemeButton />
          <button type="button" class="icon-button" aria-label="Keys and query language" title="Keys and query language  ?" onClick={() => { helpOpen.value = true; }}><Icon name="help" /></button>
          <User />
        </div>
      </header>
      <main id="main" tabIndex={-1}><NotFoundYet view={view} />{!may(ROLES[view]) ? <Missing view={view} /> : ROLES[view] === 'operate' && isRestricted() ? <TooNarrow view={view} /> : <Shown view={view} />}</main>
      <Help />
      <Toast />
    </>
  );
}

function Missing({ view }: { view: View }) {
  return <div class="page"><Notice title={`${NAMES[view]} needs the role ${ROLES[view]}`}><p>Your key does not have this role. Ask an administrator for the role, or use another key.</p><OtherKey /></Notice></div>;
}

function TooNarrow({ view }: { view: View }) {
  return <div class="page"><Notice title={`${NAMES[view]} shows all sources`}><p>Your key is restricted to some of them. Ask an administrator for a key that is not, or use another key.</p><OtherKey /></Notice></div>;
}

function OtherKey() {
  return <button type="button" onClick={() => void signOut()}>Sign in with another key</button>;
}

/** During an outage, a search that finds nothing does not mean that nothing happened. */
function NotFoundYet({ view }: { view: View }) {
  if (!firing.value?.away || !isSearch(view)) return null;
  return (
    <div class="stale above" role="status">
      <Icon name="warning" />
      <p>Kafka takes no records: new events are kept on disk, and found once Kafka takes them. <a href={href({ ...START, view: 'pipeline' })} onClick={follow({ ...START, view: 'pipeline' })}>Pipeline</a></p>
    </div>
  );
}

const isSearch = (view: View) => view === 'explore' || view === 'tail';

/** The search stays in the URL of every view, so that it is there again in Explore and Tail. */
function ViewLink({ name, on }: { name: View; on: boolean }) {
  const target = { ...place.value, view: name, event: '' };
  const letters = name === 'dead-letters' ? waiting.value : undefined;
  const alerts = name === 'pipeline' ? firing.value : undefined;
  return (
    <a href={href(target)} class={on ? 'on' : ''} aria-current={on ? 'page' : undefined} onClick={follow(target)}>
      {NAMES[name]}
      {alerts && alerts.count > 0 && <span class={`badge ${alerts.critical || alerts.away ? 'critical' : ''}`} title={counted(alerts.count, 'firing alert')}>{alerts.count}</span>}
      {letters && letters.count > 0 && <span class="badge" title="Dead letters that were not sent again">{atLeast(letters)}</span>}
    </a>
  );
}

function ThemeButton() {
  const label = dark.value ? 'Light theme' : 'Dark theme';
  return <button type="button" class="icon-button" aria-label={label} title={label} onClick={() => { theme.value = dark.peek() ? 'light' : 'dark'; }}><Icon name={dark.value ? 'sun' : 'moon'} /></button>;
}

function User() {
  const key = session.value?.key;
  if (!key) return null;
  return (
    <Menu label={`Signed in as ${key.name}`} face={<Icon name="user" />}>
      {(close) => (
        <div class="user-panel">
          <p><strong>{key.name}</strong></p>
          <p class="fine">Roles: {key.roles.join(', ')}{key.sources && <><br />Sources: {key.sources.join(', ')}</>}</p>
          <button type="button" class="menu-item" onClick={() => { close(); void signOut(); }}>Sign out</button>
        </div>
      )}
    </Menu>
  );
}
