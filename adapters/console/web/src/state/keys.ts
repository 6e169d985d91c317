// Keys without a modifier. Each view says which keys it takes while it is shown; the latest one comes first.
//
// No key is taken while a person writes, or if keys are switched off.
import { useEffect, useRef } from 'preact/hooks';
import { keysEnabled } from './settings';

/** Key name as in `KeyboardEvent.key` to what it does; `false` leaves the key to the views below and the browser. */
export type KeyMap = Record<string, () => void | boolean>;

const maps: { current: KeyMap }[] = [];

/** Takes keys as long as the component is shown. */
export function useKeys(map: KeyMap): void {
  const latest = useRef(map);
  latest.current = map;
  useEffect(() => {
    maps.unshift(latest);
    return () => {
      maps.splice(maps.indexOf(latest), 1);
    };
  }, []);
}

function isWriting(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName));
}

addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  // Escape has no character, so it stays (WCAG 2.1.4 is about characters).
  if (!keysEnabled.value && event.key !== 'Escape') return;
  if (isWriting(event.target) && event.key !== 'Escape') return;
  if (document.querySelector('dialog[open]') && event.key !== 'Escape') return;
  // Enter and Space belong to the button or link that has the focus.
  const onControl = event.target instanceof Element && event.target.closest('button, a, summary, [role=menuitem]') !== null;
  if (onControl && (event.key === 'Enter' || event.key === ' ')) return;
  for (const map of maps) {
    const action = map.current[event.key];
    if (action && action() !== false) {
      event.preventDefault();
      return;
    }
  }
});
