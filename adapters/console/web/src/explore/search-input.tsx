// The input of the search box, with suggestions below it (a combobox, WAI-ARIA 1.2).
//
// Enter sends what is written, unless a suggestion was chosen with the arrow keys.
import { useEffect, useRef, useState } from 'preact/hooks';
import { plain } from '../text/pieces';
import { Icon } from '../ui/icons';
import { touch } from '../ui/media';
import { type Suggestion, suggest } from './suggestions';
import { useKeys } from '../state/keys';

interface SearchInputProps {
  text: string;
  invalid: boolean;
  onText: (text: string) => void;
  onClear: () => void;
}

export function SearchInput({ text, invalid, onText, onClear }: SearchInputProps) {
  const input = useRef<HTMLInputElement>(null);
  const [found, setFound] = useState<readonly Suggestion[]>([]);
  const [chosen, setChosen] = useState(-1);
  const asked = useRef(0);
  useKeys({ '/': () => input.current?.select() });
  useEffect(() => () => { asked.current += 1; }, []);
  useEffect(() => {
    if (invalid && !touch.peek() && document.activeElement === document.body) input.current?.focus();
  }, [invalid]);

  const close = () => {
    asked.current += 1;
    setFound([]);
    setChosen(-1);
  };
  const look = () => {
    const element = input.current;
    if (!element) return;
    const mine = ++asked.current;
    void suggest(element.value, element.selectionStart ?? element.value.length).then((suggestions) => {
      // Only the answer to what is written now, while the box has the focus.
      if (mine !== asked.current || document.activeElement !== element) return;
      setFound(suggestions);
      setChosen(-1);
    });
  };
  const take = (suggestion: Suggestion) => {
    const element = input.current;
    if (!element) return;
    element.value = suggestion.text;
    element.setSelectionRange(suggestion.caret, suggestion.caret);
    onText(suggestion.text);
    element.focus();
    look();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const isOpen = found.length > 0;
    const suggestion = found[chosen];
    if (event.key === 'Escape') {
      // It closes the suggestions, or else leaves the box; nothing behind it.
      event.preventDefault();
      if (isOpen) close();
      else input.current?.blur();
    } else if (isOpen && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      event.preventDefault();
      const next = chosen + (event.key === 'ArrowDown' ? 1 : -1);
      setChosen(next >= found.length ? -1 : next < -1 ? found.length - 1 : next);
    } else if (suggestion && (event.key === 'Enter' || event.key === 'Tab')) {
      event.preventDefault();
      take(suggestion);
    } else if (event.key === 'Enter') close();
  };

  return (
    <div class={`search-box ${invalid ? 'invalid' : ''}`}>
      <Icon name="search" />
      <input ref={input} type="text" name="query" value={text} spellcheck={false} autocomplete="off" autocapitalize="off" maxLength={8_000}
        placeholder="Search: timeout, &quot;card declined&quot;, userId:12345 level>=WARN" aria-label="Search" aria-invalid={invalid} aria-describedby={invalid ? 'query-error' : undefined}
        role="combobox" aria-autocomplete="list" aria-expanded={found.length > 0} aria-controls="suggestions" aria-activedescendant={chosen >= 0 ? `suggestion-${chosen}` : undefined}
        onInput={(event) => { onText(event.currentTarget.value); look(); }} onKeyDown={onKeyDown} onBlur={close} />
      {text !== '' && <button type="button" class="bare" aria-label="Clear the search" onClick={() => { close(); onClear(); if (touch.peek()) input.current?.blur(); else input.current?.focus(); }}><Icon name="close" /></button>}
      <kbd class="hint">/</kbd>
      <ul id="suggestions" class="suggestions" role="listbox" aria-label="Suggestions" hidden={found.length === 0}>
        {found.map((suggestion, index) => (
          <li key={suggestion.label} id={`suggestion-${index}`} role="option" aria-selected={index === chosen} class={index === chosen ? 'on' : ''}
            onPointerDown={(event) => { event.preventDefault(); take(suggestion); }}>{plain(suggestion.label)}</li>
        ))}
      </ul>
    </div>
  );
}
