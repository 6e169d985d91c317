// Sign in with a key.
import { useRef, useState } from 'preact/hooks';
import { type ApiError, asApiError } from '../api/client';
import { Mark } from '../ui/icons';
import { Notice } from '../ui/notice';
import { session, sessionEnded, signIn } from './session';

const KEY_FORM = /^spw_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}$/;

export function SignIn() {
  const known = session.value;
  return (
    <main class="sign-in">
      <div class="sign-in-card">
        <div class="brand"><Mark /><span>Spillway</span></div>
        {known?.signIn === 'needs_https' && <Notice title="This page needs HTTPS"><p>A key must not be sent in the clear. Open the console with https://, or on the machine itself. HTTP__TLS_CERTIFICATE sets up TLS: docs/access-control.md.</p></Notice>}
        {known?.signIn === 'unavailable' && <Notice title="This Spillway has no sessions"><p>Set AUTH__SESSION_KEY_FILE at the gateway and at all roles, then load the page again: docs/access-control.md.</p></Notice>}
        {known?.signIn === 'possible' && <KeyForm />}
      </div>
    </main>
  );
}

function KeyForm() {
  const input = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | undefined>();
  const [hint, setHint] = useState('');
  const submit = async (event: Event) => {
    event.preventDefault();
    const key = input.current?.value.trim() ?? '';
    setError(undefined);
    setHint(KEY_FORM.test(key) ? '' : 'A key looks like spw_8f3kq2mz_ and 38 more characters. Check that it was copied as a whole.');
    if (!KEY_FORM.test(key)) return;
    setBusy(true);
    try {
      await signIn(key);
    } catch (failure) {
      setError(asApiError(failure));
      input.current?.select();
    }
    setBusy(false);
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <h1>Sign in</h1>
      {sessionEnded.value && <p class="muted" role="status">Your session has ended: it was 12 hours old, or its key has expired or was revoked.</p>}
      <label for="key">Key</label>
      <input ref={input} id="key" type="password" autocomplete="current-password" placeholder="spw_…" spellcheck={false} autofocus aria-invalid={hint !== '' || error !== undefined} aria-describedby="key-help" />
      {(hint !== '' || error) && <p class="failure-text" role="alert">{error?.message ?? hint}</p>}
      <button type="submit" class="primary" disabled={busy}>{busy ? 'Signing in…' : 'Sign in'}</button>
      <p class="fine" id="key-help">The key is sent once and not kept; the session lasts 12 hours. An administrator makes a key with</p>
      <pre class="fine" tabIndex={0}>{'spillway key create --name you \\\n    --role read,operate'}</pre>
    </form>
  );
}
