// What a view says instead of data: that there is none yet, that it comes, or why it cannot come and what to do.
import type { ComponentChildren } from 'preact';
import type { ApiError } from '../api/client';

/** What a person can do about an error, by its code (docs/api.md). */
const ADVICE: Record<string, string> = {
  query_too_broad: 'Choose a shorter range of time, a source or a level: these select by index.',
  store_unavailable: 'The Pipeline view shows whether the store answers. Events are still accepted and stored later.',
  upstream_unreachable: 'The Pipeline view shows which instances answer.',
  role_missing: 'Sign in with a key that has the role, or ask an administrator for it.',
  too_many_tails: 'Close a tail that is not needed, or set up another consumer.',
  host_not_allowed: 'Add the name in the address bar to HTTP__HOSTS.',
  proxy_not_trusted: 'Add the proxy to GATEWAY__TRUSTED_PROXIES, or require keys.',
};

export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  const advice = ADVICE[error.code];
  return (
    <div class="notice failure" role="alert">
      <p class="notice-title">{error.message}</p>
      {advice && <p>{advice}</p>}
      {retry && <button type="button" onClick={retry}>Try again</button>}
      {error.status > 0 && <p class="fine">{error.code}, status {error.status}</p>}
    </div>
  );
}

export function Notice({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="notice">
      <p class="notice-title">{title}</p>
      {children}
    </div>
  );
}
