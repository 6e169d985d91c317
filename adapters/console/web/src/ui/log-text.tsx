// Log text as text nodes, with searched texts marked. Long texts are cut, and shown as a whole on request.
import { useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { bytes } from '../text/numbers';
import { pieces } from '../text/pieces';

/** What is shown of a long text at first, in characters. */
export const SHOWN_MAX = 10_000;
const MARKS_MAX = 200;

/** Lets long names, such as those of a stack trace, continue in the next line after a dot, a slash or a parenthesis. */
function breakable(text: string): ComponentChildren {
  return text.split(/(?<=[./(])/).map((part, index) => (index === 0 ? part : [<wbr />, part]));
}

function marked(text: string, terms: readonly string[], write: (text: string) => ComponentChildren): ComponentChildren {
  if (terms.length === 0) return write(text);
  const folded = text.toLowerCase();
  // Folding may change the length of unusual texts: their places would be wrong.
  if (folded.length !== text.length) return write(text);
  const found: ComponentChildren[] = [];
  let end = 0;
  while (found.length < MARKS_MAX) {
    let at = -1;
    let length = 0;
    for (const term of terms) {
      const next = folded.indexOf(term.toLowerCase(), end);
      if (next >= 0 && (at < 0 || next < at || (next === at && term.length > length))) [at, length] = [next, term.length];
    }
    if (at < 0) break;
    if (at > end) found.push(write(text.slice(end, at)));
    found.push(<mark>{text.slice(at, at + length)}</mark>);
    end = at + length;
  }
  return found.length === 0 ? write(text) : [...found, write(text.slice(end))];
}

/** Text within a line, or with `names`, lines of names. */
export function LogText({ text, terms = [], names = false }: { text: string; terms?: readonly string[]; names?: boolean }) {
  const parts = pieces(text);
  const only = parts[0];
  // A text that is shown whole may be large: it is not worth an element for each of its names.
  const write = names && text.length <= SHOWN_MAX ? breakable : (plain: string) => plain;
  if (parts.length === 1 && only?.kind === 'text' && only.classes === '') return <>{marked(only.text, terms, write)}</>;
  return (
    <>
      {parts.map((piece, index) =>
        piece.kind === 'text' ? (
          <span key={index} class={piece.classes}>{marked(piece.text, terms, write)}</span>
        ) : (
          <span key={index} class="control" title={`${piece.name}`}>{piece.label}</span>
        ),
      )}
    </>
  );
}

/** A block of text with its lines, cut at first. With `lines`, the rest of a line that does not fit is indented, as in a stack trace. */
export function LogBlock({ text, terms = [], label, lines = false }: { text: string; terms?: readonly string[]; label: string; lines?: boolean }) {
  const [whole, setWhole] = useState(false);
  const cut = !whole && text.length > SHOWN_MAX;
  return (
    <div class="log-block">
      <pre class={lines ? 'lines' : ''} tabIndex={0} aria-label={label}>
        <LogText text={cut ? text.slice(0, SHOWN_MAX) : text} terms={terms} names={lines} />
      </pre>
      {text.length > SHOWN_MAX && (
        <button type="button" class="link" onClick={() => setWhole(!whole)}>
          {cut ? `Show all (${bytes(new Blob([text]).size)})` : 'Show less'}
        </button>
      )}
    </div>
  );
}
