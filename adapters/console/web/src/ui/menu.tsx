// A button that opens a panel below it. Escape and a click outside close it.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';

interface MenuProps {
  /** What the button shows. */
  face: ComponentChildren;
  label: string;
  class?: string;
  /** Which edge of the button the panel keeps to. */
  align?: 'left' | 'right';
  children: (close: () => void) => ComponentChildren;
}

export function Menu({ face, label, class: className = '', align = 'right', children }: MenuProps) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };

  useEffect(() => {
    if (!open) return;
    const onPointer = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== 'Escape') return;
      event.preventDefault();
      close();
    };
    addEventListener('pointerdown', onPointer);
    // Before the keys of the views: Escape closes the panel and nothing behind it.
    addEventListener('keydown', onKey, true);
    root.current?.querySelector<HTMLElement>('.menu-panel button, .menu-panel input, .menu-panel a')?.focus();
    return () => {
      removeEventListener('pointerdown', onPointer);
      removeEventListener('keydown', onKey, true);
    };
  }, [open]);

  return (
    <div class={`menu ${className}`} ref={root}>
      <button ref={button} type="button" class="menu-button" aria-label={label} title={label} aria-expanded={open} onClick={() => setOpen(!open)}>
        {face}
      </button>
      {open && <div class={`menu-panel ${align}`}>{children(close)}</div>}
    </div>
  );
}
