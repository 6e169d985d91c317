// The keys, and where to learn more.
import { useEffect, useRef } from 'preact/hooks';
import { signal } from '@preact/signals';
import { keysEnabled } from '../state/settings';

export const helpOpen = signal(false);

const KEYS: [string, string][] = [
  ['/', 'Go to the search box'],
  ['j  k', 'Next, previous event'],
  ['Enter', 'Open the event'],
  ['c', 'Context: what happened before and after'],
  ['t', 'Trace: its events in all sources'],
  ['l', 'Live: follow new events'],
  ['Space', 'Expand the event; in Tail: pause, resume'],
  ['w', 'Wrap lines'],
  ['[  ]', 'Earlier, later range'],
  ['Esc', 'Close'],
  ['?', 'This help'],
];

const LANGUAGE: [string, string][] = [
  ['timeout', 'anywhere in message, stack trace or metadata'],
  ['"card declined"', 'a phrase'],
  ['userId:12345', 'a field has a value'],
  ['level>=WARN', 'compare'],
  ['source:checkout-*', '* stands for any characters'],
  ['http.status:>=500', 'a member of the metadata'],
  ['a OR b, NOT a, -a, ( )', 'combine; OR and NOT in capitals'],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helpOpen.value) dialog.current?.showModal();
  }, [helpOpen.value]);
  if (!helpOpen.value) return null;
  const close = () => { helpOpen.value = false; };
  return (
    <dialog ref={dialog} class="dialog help" aria-labelledby="help-title" onClose={close}>
      <h2 id="help-title" tabIndex={-1} autofocus>Keys and query language</h2>
      <div class="help-columns">
        <dl class="keys">{KEYS.map(([keys, what]) => <div key={keys}><dt>{keys.split('  ').map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{what}</dd></div>)}</dl>
        <dl class="language">{LANGUAGE.map(([text, what]) => <div key={text}><dt><code>{text}</code></dt><dd>{what}</dd></div>)}</dl>
      </div>
      <label class="check"><input type="checkbox" checked={keysEnabled.value} onChange={(event) => { keysEnabled.value = event.currentTarget.checked; }} />Use keys without a modifier</label>
      <div class="dialog-actions"><a class="button" href="/swagger-ui" target="_blank" rel="noreferrer">API</a><button type="button" class="primary" onClick={close}>Close</button></div>
    </dialog>
  );
}
