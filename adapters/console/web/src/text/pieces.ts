// Log text in pieces that can be shown.
//
// Log text is hostile: it may have terminal control sequences, characters that change the direction of text, and invisible
// ones. Colours of terminals (SGR) become classes, other sequences disappear, and every other control character becomes visible.
// The number of pieces is bounded, so that no text can fill the page with elements.

export type Piece =
  | { readonly kind: 'text'; readonly text: string; readonly classes: string }
  | { readonly kind: 'control'; readonly label: string; readonly name: string };

/** More than any readable line needs. What follows is one piece without colours. */
const PIECES_MAX = 2_000;

const CONTROL = '\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2064\\u2066-\\u206f\\ufeff\\ufff9-\\ufffb';
const SPECIAL = new RegExp(`\\u001b\\[[0-9;:]*m|\\u001b\\[[0-?]*[ -/]*[@-~]|\\u001b\\][^\\u0007\\u001b]*(?:\\u0007|\\u001b\\\\)|\\r(?=\\n)|[${CONTROL}]`, 'g');
const ANY_SPECIAL = new RegExp(`[${CONTROL}]`);
const ALL_CONTROL = new RegExp(`[${CONTROL}]`, 'g');

/** The abbreviations of the first 32 characters (ECMA-48, section 8.2). */
const C0 = 'NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US'.split(' ');

const NAMES: Record<number, string> = {
  0x00: 'null',
  0x07: 'bell',
  0x08: 'backspace',
  0x0d: 'carriage return',
  0x1b: 'escape',
  0xad: 'soft hyphen',
  0x200b: 'zero-width space',
  0x200e: 'left-to-right mark',
  0x200f: 'right-to-left mark',
  0x2028: 'line separator',
  0x202a: 'left-to-right embedding',
  0x202b: 'right-to-left embedding',
  0x202c: 'end of embedding',
  0x202d: 'left-to-right override',
  0x202e: 'right-to-left override',
  0x2066: 'left-to-right isolate',
  0x2067: 'right-to-left isolate',
  0x2068: 'first strong isolate',
  0x2069: 'end of isolate',
  0xfeff: 'byte order mark',
};

function control(character: string): Piece {
  const code = character.codePointAt(0) ?? 0;
  const label = C0[code] ?? `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
  return { kind: 'control', label, name: NAMES[code] ?? 'control character' };
}

/** Colours and styles as the parameters of SGR change them (ECMA-48, 8.3.117). */
class Style {
  #colour = '';
  #bold = false;
  #underline = false;
  classes = '';

  apply(sequence: string): void {
    const codes = sequence.slice(2, -1).split(/[;:]/).map(Number);
    for (let at = 0; at < codes.length; at += 1) {
      const code = codes[at] ?? 0;
      if (code === 0) this.#reset();
      else if (code === 1) this.#bold = true;
      else if (code === 22) this.#bold = false;
      else if (code === 4) this.#underline = true;
      else if (code === 24) this.#underline = false;
      else if (code === 39) this.#colour = '';
      else if (code >= 30 && code <= 37) this.#colour = `ansi-${code - 30}`;
      else if (code >= 90 && code <= 97) this.#colour = `ansi-${code - 90}`;
      // 256 colours and RGB: the first eight are shown, others are left out, so that contrast stays sufficient.
      else if (code === 38 || code === 48) {
        const indexed = codes[at + 1] === 5;
        const index = codes[at + 2] ?? 16;
        if (code === 38 && indexed && index < 16) this.#colour = `ansi-${index % 8}`;
        at += indexed ? 2 : 4;
      }
    }
    this.classes = [this.#colour, this.#bold ? 'ansi-bold' : '', this.#underline ? 'ansi-underline' : ''].filter(Boolean).join(' ');
  }

  #reset(): void {
    this.#colour = '';
    this.#bold = false;
    this.#underline = false;
  }
}

/** Divides `text` into pieces to show, in order. */
export function pieces(text: string): Piece[] {
  if (!ANY_SPECIAL.test(text)) return [{ kind: 'text', text, classes: '' }];
  const found: Piece[] = [];
  const style = new Style();
  let end = 0;
  for (const match of text.matchAll(SPECIAL)) {
    if (match.index > end) found.push({ kind: 'text', text: text.slice(end, match.index), classes: style.classes });
    const special = match[0];
    end = match.index + special.length;
    if (special.startsWith('\u001b[') && special.endsWith('m')) style.apply(special);
    else if (special.length === 1 && !(special === '\r' && text[end] === '\n')) found.push(control(special));
    if (found.length >= PIECES_MAX) break;
  }
  if (end < text.length) {
    const rest = text.slice(end);
    found.push({ kind: 'text', text: found.length >= PIECES_MAX ? rest.replace(ALL_CONTROL, '\ufffd') : rest, classes: style.classes });
  }
  return found;
}

/** One line without control characters, for titles and labels. */
export function plain(text: string): string {
  return pieces(text)
    .map((piece) => (piece.kind === 'text' ? piece.text : piece.label))
    .join('');
}
