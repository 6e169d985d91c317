// Parts of the page that are scripts of their own.
//
// Browsers keep a failed import as long as the page is open, so only a page that is loaded again gets the part.
import { signal } from '@preact/signals';
import type { ComponentType, FunctionComponent } from 'preact';
import { useEffect } from 'preact/hooks';
import { say } from './toast';

/** A component whose script is loaded by `prepare`, or when it is shown. `prepare` does not fail. */
export type Lazy<P> = FunctionComponent<P> & { prepare: () => Promise<void> };

/** Shows nothing until the script is there. */
export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): Lazy<P> {
  const part = signal<ComponentType<P> | 'failed' | undefined>(undefined);
  const prepare = async () => {
    try {
      part.value = await load();
    } catch (error) {
      console.warn(error);
      part.value = 'failed';
    }
  };
  const Shown = (props: P) => {
    useEffect(() => void prepare(), []);
    const Part = part.value;
    if (Part === 'failed') return <NotLoaded />;
    return Part ? <Part {...props} /> : null;
  };
  return Object.assign(Shown, { prepare });
}

function NotLoaded() {
  return (
    <div class="notice failure" role="alert">
      <p class="notice-title">This part of the page cannot be loaded</p>
      <p>Spillway does not answer, or it was upgraded while the page was open.</p>
      <button type="button" onClick={() => void reload()}>Reload the page</button>
    </div>
  );
}

/** Without Spillway, the browser would show its own error instead of the page. */
async function reload(): Promise<void> {
  const answer = await fetch(location.pathname).catch(() => undefined);
  if (answer?.ok) location.reload();
  else say('Spillway does not answer');
}
