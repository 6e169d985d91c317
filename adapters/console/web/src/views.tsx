// The views.
import { DeadLetters } from './dead-letters/dead-letters';
import { Explore } from './explore/explore';
import { Pipeline } from './pipeline/pipeline';
import { Send } from './send/send';
import type { View } from './state/place';
import { Tail } from './tail/tail';

export function Shown({ view }: { view: View }) {
  switch (view) {
    case 'explore':
      return <Explore />;
    case 'tail':
      return <Tail />;
    case 'dead-letters':
      return <DeadLetters />;
    case 'pipeline':
      return <Pipeline />;
    case 'send':
      return <Send />;
  }
}
