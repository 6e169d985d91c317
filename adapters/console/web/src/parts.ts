// The parts of the page that are scripts of their own, beside the entry: it has the frame, so that the first paint waits for little.
//
// All of them are loaded at once, before anyone asks for them. No click waits for a script, and views work while Spillway is away.
// They are listed in the entry, also the part of a part: the bundler then leaves in the entry what they share with it.
import { lazy } from './ui/lazy';

export const Shown = lazy(() => import('./views').then((views) => views.Shown));
export const Histogram = lazy(() => import('./explore/histogram').then((histogram) => histogram.Histogram));

/** Loads the views first, since they ask for what they show. */
export async function loadParts(): Promise<void> {
  await Shown.prepare();
  await Histogram.prepare();
}
