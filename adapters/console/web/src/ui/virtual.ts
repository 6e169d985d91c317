// A virtual list: only the rows in sight are elements.
import { elementScroll, observeElementOffset, observeElementRect, type VirtualItem, Virtualizer } from '@tanstack/virtual-core';
import { useLayoutEffect, useReducer, useState } from 'preact/hooks';
import type { RefObject } from 'preact';

export type Rows = Virtualizer<HTMLElement, HTMLElement>;

export interface VirtualOptions {
  count: number;
  /** The element that scrolls. */
  scroller: RefObject<HTMLElement | null>;
  keyOf: (index: number) => string | number;
  estimate: number;
  /** Where the list was before, if it is shown again. */
  scrollTop?: number;
  measurements?: VirtualItem[];
}

/** The rows of a list; the component is rendered again when others come into sight. */
export function useRows({ count, scroller, keyOf, estimate, scrollTop = 0, measurements = [] }: VirtualOptions): Rows {
  const [, render] = useReducer((renders: number) => renders + 1, 0);
  const options = {
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => estimate,
    getItemKey: keyOf,
    overscan: 12,
    scrollToFn: elementScroll,
    observeElementRect,
    observeElementOffset,
    onChange: () => render(undefined),
  };
  const [rows] = useState<Rows>(() => new Virtualizer<HTMLElement, HTMLElement>({ ...options, initialOffset: scrollTop, initialMeasurementsCache: measurements }));
  rows.setOptions({ ...rows.options, ...options });
  useLayoutEffect(() => rows._didMount(), [rows]);
  useLayoutEffect(() => rows._willUpdate());
  return rows;
}
