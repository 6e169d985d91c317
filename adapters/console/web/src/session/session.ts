// Who the page is signed in as. The key is sent once; afterwards the browser has a cookie that no script can read.
//
// What the page has in memory, such as events, values and alerts, is for one key only: another key begins with the page loaded again.
import { effect, signal } from '@preact/signals';
import { ApiError, asApiError, post, read, unauthenticated } from '../api/client';
import { say } from '../ui/toast';

export interface Session {
  authentication: 'off' | 'keys';
  signIn: 'not_needed' | 'possible' | 'needs_https' | 'unavailable';
  key?: { name: string; roles: string[]; sources?: string[] };
}

export const session = signal<Session | undefined>(undefined);
export const sessionError = signal<ApiError | undefined>(undefined);
/** Whether a session ended by itself, so that the page can say why it asks for a key again. */
export const sessionEnded = signal(false);

/** Asks who this is. */
export async function learn(): Promise<void> {
  try {
    session.value = await read<Session>('/api/session');
    sessionError.value = undefined;
  } catch (error) {
    const known = asApiError(error);
    if (known?.status === 404 || known?.status === 405) session.value = { authentication: 'off', signIn: 'not_needed' };
    else sessionError.value = known;
  }
}

/** Whether a key is needed now. */
export function mustSignIn(known: Session): boolean {
  return known.authentication === 'keys' && known.key === undefined;
}

/** Whether the role is there: without keys everyone has all of them. */
export function may(role: 'ingest' | 'read' | 'operate'): boolean {
  const known = session.value;
  if (!known || known.authentication === 'off') return true;
  return known.key?.roles.some((one) => one === role || one === 'admin') ?? false;
}

/** Whether the key is restricted to some sources: what operators see cannot be divided. */
export function isRestricted(): boolean {
  return session.value?.key?.sources !== undefined;
}

export async function signIn(key: string): Promise<void> {
  await post<void>('/api/session', undefined, { Authorization: `Bearer ${key}` });
  location.reload();
}

export async function signOut(): Promise<void> {
  const answer = await fetch('/api/session', { method: 'DELETE' }).catch(() => undefined);
  if (answer?.ok) location.reload();
  else say('Spillway did not answer: you are still signed in');
}

// A 401 anywhere: the session ended, or the key was revoked.
effect(() => {
  if (unauthenticated.value === 0) return;
  if (session.peek()?.key) sessionEnded.value = true;
  void learn();
});
