// The runbook of an alert. Spillway serves it: it can be read where nothing else can be reached.
import { signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { type ApiError, asApiError, readText } from '../api/client';
import { type Block, blocks, type Inline } from '../text/markdown';
import { Failure } from '../ui/notice';

/** The runbook that is open, by its name. */
const open = signal('');

/** The name of a runbook from its path in the repository, or `undefined` if it is somewhere else. */
export function runbookName(path: string): string | undefined {
  return /^(?:docs\/runbooks\/)?(\w+)\.md(?:#.*)?$/.exec(path)?.[1];
}

export function RunbookLink({ path }: { path: string }) {
  const name = runbookName(path);
  if (name) return <button type="button" class="link" onClick={() => { open.value = name; }}>Open the runbook</button>;
  return /^https?:\/\//.test(path) ? <a href={path} rel="noreferrer" target="_blank">{path}</a> : <code>{path}</code>;
}

/** Shows the runbook that is open. */
export function Runbook() {
  const name = open.value;
  const dialog = useRef<HTMLDialogElement>(null);
  const [document, setDocument] = useState<Block[] | undefined>();
  const [error, setError] = useState<ApiError | undefined>();
  useEffect(() => {
    if (name === '') return;
    if (!dialog.current?.open) dialog.current?.showModal();
    setDocument(undefined);
    setError(undefined);
    const broken = new AbortController();
    readText(`./runbooks/${name}.md`, broken.signal)
      .then((text) => setDocument(blocks(text)))
      .catch((error: unknown) => setError(asApiError(error)));
    return () => broken.abort();
  }, [name]);
  if (name === '') return null;
  const close = () => { open.value = ''; };
  return (
    <dialog ref={dialog} class="dialog runbook-dialog" aria-label={`Runbook ${name}`} onClose={close}>
      <div class="runbook-body" tabIndex={0} autofocus>
        {error && <Failure error={error} />}
        {!error && !document && <p class="fine">Loading…</p>}
        {document?.map((block, index) => <BlockOf key={index} block={block} />)}
      </div>
      <div class="dialog-actions"><span class="fine runbook-place">docs/runbooks/{name}.md</span><button type="button" class="primary" onClick={close}>Close</button></div>
    </dialog>
  );
}

function BlockOf({ block }: { block: Block }) {
  switch (block.kind) {
    case 'heading':
      return block.level === 1 ? <h2>{inlines(block.content)}</h2> : <h3>{inlines(block.content)}</h3>;
    case 'paragraph':
      return <p>{inlines(block.content)}</p>;
    case 'list':
      return <List numbered={block.numbered}>{block.items.map((item, index) => <li key={index}>{inlines(item)}</li>)}</List>;
    case 'table':
      return (
        <div class="table-scroll"><table>
          <tbody>{block.rows.map((row, index) => <tr key={index}>{row.map((cell, at) => (index === 0 ? <th key={at} scope="col">{inlines(cell)}</th> : <td key={at}>{inlines(cell)}</td>))}</tr>)}</tbody>
        </table></div>
      );
    case 'code':
      return <pre tabIndex={0}>{block.text}</pre>;
  }
}

function List({ numbered, children }: { numbered: boolean; children: ComponentChildren }) {
  return numbered ? <ol>{children}</ol> : <ul>{children}</ul>;
}

function inlines(content: readonly Inline[]): ComponentChildren {
  return content.map((part, index) => {
    if (part.kind === 'code') return <code key={index}>{part.text}</code>;
    if (part.kind === 'bold') return <strong key={index}>{part.text}</strong>;
    if (part.kind === 'text') return part.text;
    const name = runbookName(part.target);
    // Other pages of the documentation are not served: their names say where to look.
    return name ? <button key={index} type="button" class="link" onClick={() => { open.value = name; }}>{part.text}</button> : <span key={index} title={part.target}>{part.text}</span>;
  });
}
