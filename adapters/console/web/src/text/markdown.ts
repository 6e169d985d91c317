// The part of Markdown that runbooks use, as data: headings, paragraphs, lists, tables, code; and within them code, bold and links.
//
// What is not understood stays as it is written: a runbook is never shown with less than its text.

export type Inline = { kind: 'text'; text: string } | { kind: 'code'; text: string } | { kind: 'bold'; text: string } | { kind: 'link'; text: string; target: string };

export type Block =
  | { kind: 'heading'; level: number; content: Inline[] }
  | { kind: 'paragraph'; content: Inline[] }
  | { kind: 'list'; numbered: boolean; items: Inline[][] }
  | { kind: 'table'; rows: Inline[][][] }
  | { kind: 'code'; text: string };

/** The parts of a text within a line. */
export function inline(text: string): Inline[] {
  const found: Inline[] = [];
  let end = 0;
  for (const match of text.matchAll(/`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g)) {
    if (match.index > end) found.push({ kind: 'text', text: text.slice(end, match.index) });
    const [whole, code, bold, link, target] = match;
    if (code !== undefined) found.push({ kind: 'code', text: code });
    else if (bold !== undefined) found.push({ kind: 'bold', text: bold });
    else found.push({ kind: 'link', text: (link ?? '').replaceAll('`', ''), target: target ?? '' });
    end = match.index + whole.length;
  }
  if (end < text.length) found.push({ kind: 'text', text: text.slice(end) });
  return found;
}

const ITEM = /^(?:\*|-|\d+\.) +/;

/** The blocks of a document, in order. */
export function blocks(markdown: string): Block[] {
  const found: Block[] = [];
  const lines = markdown.replaceAll('\r\n', '\n').split('\n');
  let at = 0;
  const takeWhile = (belongs: (line: string) => boolean): string[] => {
    const taken: string[] = [];
    while (at < lines.length && belongs(lines[at] ?? '')) {
      taken.push(lines[at] ?? '');
      at += 1;
    }
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at] ?? '';
    const heading = /^(#{1,6}) +(.*)$/.exec(line);
    if (line.trim() === '') at += 1;
    else if (line.startsWith('```')) {
      at += 1;
      found.push({ kind: 'code', text: takeWhile((one) => !one.startsWith('```')).join('\n') });
      at += 1;
    } else if (heading) {
      found.push({ kind: 'heading', level: heading[1]?.length ?? 1, content: inline(heading[2] ?? '') });
      at += 1;
    } else if (line.startsWith('|')) {
      found.push({ kind: 'table', rows: takeWhile((one) => one.startsWith('|')).filter((one) => !/^\|[\s|:-]+\|$/.test(one)).map(cells) });
    } else if (ITEM.test(line)) {
      found.push({ kind: 'list', numbered: /^\d/.test(line), items: items(takeWhile((one) => ITEM.test(one) || /^ {2,}\S/.test(one))).map(inline) });
    } else {
      // The first line always belongs: otherwise nothing would be taken.
      at += 1;
      const rest = takeWhile((one) => one.trim() !== '' && !/^(#{1,6} |```|\|)/.test(one) && !ITEM.test(one));
      found.push({ kind: 'paragraph', content: inline([line, ...rest].join(' ')) });
    }
  }
  return found;
}

function cells(row: string): Inline[][] {
  return row.replace(/^\||\|\s*$/g, '').split(/(?<!\\)\|/).map((cell) => inline(cell.trim().replaceAll('\\|', '|')));
}

function items(lines: readonly string[]): string[] {
  const found: string[] = [];
  for (const line of lines) {
    if (ITEM.test(line)) found.push(line.replace(ITEM, ''));
    else found.push(`${found.pop() ?? ''} ${line.trim()}`);
  }
  return found;
}
