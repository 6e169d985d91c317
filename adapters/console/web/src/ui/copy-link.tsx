// Copies a link that shows another person the same.
import { href, type Place } from '../state/place';
import { Icon } from './icons';
import { copy } from './toast';

export function copyLink(to: string, place: Place): void {
  void copy(`${location.origin}${location.pathname}${href(place)}`, `Link to ${to}`);
}

/** `to` says where it leads; a narrow page shows the icon alone. */
export function CopyLink({ to, place }: { to: string; place: () => Place }) {
  return (
    <button type="button" class="icon-button text copy-link" aria-label={`Link to ${to}`} title={`Copy a link to ${to}`} onClick={() => copyLink(to, place())}>
      <Icon name="link" /><span>Link to {to}</span>
    </button>
  );
}
