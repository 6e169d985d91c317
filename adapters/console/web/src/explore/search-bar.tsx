// The search box, the conditions as chips, and the levels. Explore and Tail share them.
import { useEffect, useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import type { ApiError } from '../api/client';
import { LEVELS, type Level } from '../api/levels';
import { go, place } from '../state/place';
import { short } from '../text/numbers';
import { plain } from '../text/pieces';
import { Icon } from '../ui/icons';
import { focusList } from './event-list';
import { negated } from './query';
import { SearchInput } from './search-input';

interface SearchBarProps {
  /** Asked for when the same search is sent again. */
  onAgain: () => void;
  error: ApiError | undefined;
  children?: ComponentChildren;
}

export function SearchBar({ onAgain, error, children }: SearchBarProps) {
  const [text, setText] = useState(place.value.query);
  useEffect(() => setText(place.value.query), [place.value.query]);
  const invalid = error?.code === 'query_invalid';
  return (
    <>
      <form class="search-bar" role="search" onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() === place.peek().query) onAgain();
        else go({ query: text.trim() });
        // By Enter, and not by the button.
        if (document.activeElement?.tagName === 'INPUT') focusList();
      }}>
        <SearchInput text={text} invalid={invalid} onText={setText} onClear={() => { setText(''); go({ query: '' }); }} />
        {children}
      </form>
      {invalid && error && <p class="query-error" id="query-error" role="alert">{located(error.message)}</p>}
    </>
  );
}

/** The API counts characters of the whole query; parentheses around the box move them by one. */
function located(detail: string): string {
  const { query, where } = place.peek();
  if (where.length === 0 || !/ OR /.test(query)) return detail;
  return detail.replace(/at character (\d+)/, (_all, at: string) => `at character ${Math.max(1, Number(at) - 1)}`);
}

/** The conditions that were added by a click. */
export function Chips() {
  const { where } = place.value;
  if (where.length === 0) return null;
  const others = (text: string) => place.peek().where.filter((one) => one !== text);
  return (
    <ul class="chips" aria-label="Conditions">
      {where.map((text) => {
        const negative = text.startsWith('-');
        const shown = plain(negative ? text.slice(1) : text);
        return (
          <li key={text} class={`chip ${negative ? 'negative' : ''}`}>
            <button type="button" class="chip-text" title={negative ? 'Excluded. Click to include' : 'Included. Click to exclude'} onClick={() => go({ where: place.peek().where.map((one) => (one === text ? negated(text) : one)) })}>
              {negative && <span class="not">not</span>}
              {shown}
            </button>
            <button type="button" class="bare" aria-label={`Remove the condition ${shown}`} onClick={() => go({ where: others(text) })}><Icon name="close" /></button>
          </li>
        );
      })}
      {where.length > 1 && <li><button type="button" class="link" onClick={() => go({ where: [] })}>Remove all</button></li>}
    </ul>
  );
}

/** Levels to choose from, with their counts if they are known. */
export function LevelToggles({ counts }: { counts?: Record<string, number> | undefined }) {
  const { levels } = place.value;
  const toggle = (level: Level) => {
    const chosen = levels.includes(level) ? levels.filter((one) => one !== level) : [...levels, level];
    go({ levels: chosen.length === LEVELS.length ? [] : LEVELS.filter((one) => chosen.includes(one)) });
  };
  return (
    <div class="levels" role="group" aria-label="Levels">
      {[...LEVELS].reverse().map((level) => {
        const on = levels.includes(level);
        const count = counts?.[level];
        return (
          <button key={level} type="button" class={`level-toggle level-${level} ${levels.length > 0 && !on ? 'off' : ''}`} aria-pressed={on} title={on ? `Remove ${level} from the levels` : `Only ${level}`} onClick={() => toggle(level)}>
            <span class="swatch" aria-hidden="true" />
            {level}
            {count !== undefined && (on || levels.length === 0) && <span class="count">{short(count)}</span>}
          </button>
        );
      })}
      {levels.length > 0 && <button type="button" class="link" onClick={() => go({ levels: [] })}>All levels</button>}
    </div>
  );
}
