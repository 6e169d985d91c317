// What the page is shown on.
import { signal, type Signal } from '@preact/signals';

function media(query: string): Signal<boolean> {
  const list = matchMedia(query);
  const matches = signal(list.matches);
  list.addEventListener('change', () => { matches.value = list.matches; });
  return matches;
}

/** A phone, or a window as narrow as one. The style sheets have the same width. */
export const narrow = media('(max-width: 760px)');
/** Fingers: a box with the focus covers half of the page with a keyboard. */
export const touch = media('(pointer: coarse)');
