// A short message about something that was done, such as a copy.
import { signal } from '@preact/signals';

const SHOWN_MS = 3_000;
const message = signal('');
let timer: ReturnType<typeof setTimeout> | undefined;

export function say(text: string): void {
  message.value = text;
  clearTimeout(timer);
  timer = setTimeout(() => {
    message.value = '';
  }, SHOWN_MS);
}

/** Copies a text, and says so. */
export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    // Without TLS the clipboard is only open to pages of the machine itself.
    say(copyBySelection(text) ? `${what} copied` : 'The browser did not allow the copy');
  }
}

function copyBySelection(text: string): boolean {
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'off-screen';
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}

export function Toast() {
  return (
    <div class="toast-place" role="status" aria-live="polite">
      {message.value !== '' && <div class="toast">{message.value}</div>}
    </div>
  );
}
