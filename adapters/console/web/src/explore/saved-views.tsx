// Searches with a name, kept in this browser.
import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { parsePlace, place, writePlace, go } from '../state/place';
import { store, stored } from '../state/settings';
import { Icon } from '../ui/icons';
import { Menu } from '../ui/menu';
import { say } from '../ui/toast';

interface SavedView {
  name: string;
  /** The query of its URL. */
  query: string;
}

const VIEWS_MAX = 50;
const NAME_CHARACTERS_MAX = 80;

function isSaved(value: unknown): value is SavedView[] {
  return Array.isArray(value) && value.every((one) => typeof (one as SavedView)?.name === 'string' && typeof (one as SavedView)?.query === 'string');
}

const views = signal<SavedView[]>(stored('views', [], isSaved));

function change(next: SavedView[]): void {
  views.value = next.slice(-VIEWS_MAX);
  store('views', views.value);
}

export function SavedViews() {
  return (
    <Menu label="Saved views" class="views-menu" face={<Icon name="bookmark" />}>
      {(close) => <Panel close={close} />}
    </Menu>
  );
}

function Panel({ close }: { close: () => void }) {
  const [name, setName] = useState('');
  const save = (event: Event) => {
    event.preventDefault();
    const trimmed = name.trim();
    if (trimmed === '') return;
    change([...views.peek().filter((view) => view.name !== trimmed), { name: trimmed, query: writePlace({ ...place.peek(), event: '' }) }]);
    say(`View “${trimmed}” saved in this browser`);
    close();
  };
  return (
    <div class="views-panel">
      <form onSubmit={save}>
        <label>Save this search as<input value={name} maxLength={NAME_CHARACTERS_MAX} placeholder="Name" onInput={(event) => setName(event.currentTarget.value)} /></label>
        <button type="submit" class="primary" disabled={name.trim() === ''}>Save</button>
      </form>
      {views.value.length === 0 ? (
        <p class="fine">Saved views keep the query, the levels, the range and the columns. They stay in this browser.</p>
      ) : (
        <ul>
          {views.value.map((view) => (
            <li key={view.name}>
              <button type="button" class="menu-item" onClick={() => { go(parsePlace(`?${view.query}`)); close(); }}>{view.name}</button>
              <button type="button" class="bare" aria-label={`Delete the view ${view.name}`} onClick={() => change(views.peek().filter((one) => one !== view))}><Icon name="close" /></button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
