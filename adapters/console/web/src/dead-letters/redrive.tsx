// Sending dead letters again: always a dry run first, then in steps of about two seconds, so that progress is seen and can be stopped.
import { useEffect, useRef, useState } from 'preact/hooks';
import { type ApiError, asApiError, post, type RedriveRequest, type RedriveResult } from '../api/client';
import { counted, grouped } from '../text/numbers';
import { plain } from '../text/pieces';
import { around, follow, href } from '../state/place';
import { Failure } from '../ui/notice';
import { isUndecodable, meant, type Outcome, outcomeOf, type RedriveScope } from './letters';

const LIMIT_MAX = 1_000;
const RATE_MAX = 1_000;
const STEP_SECONDS = 2;

function redrive(request: Partial<RedriveRequest>): Promise<RedriveResult> {
  return post<RedriveResult>('/api/dlq/redrive', JSON.stringify(request), { 'Content-Type': 'application/json' });
}

type State =
  | { kind: 'checking' }
  | { kind: 'ready'; dry: RedriveResult }
  | { kind: 'sending'; sent: number; of: number }
  | { kind: 'done'; sent: number; skipped: number; stopped: boolean; outcome?: Outcome | 'awaited' };

export function Redrive({ scope, onClose }: { scope: RedriveScope; onClose: (sent: boolean) => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [perSecond, setPerSecond] = useState(100);
  const [state, setState] = useState<State>({ kind: 'checking' });
  const [error, setError] = useState<ApiError | undefined>();
  const stop = useRef(false);
  const sentAny = useRef(false);
  const [broken] = useState(() => new AbortController());
  useEffect(() => () => broken.abort(), [broken]);

  const again = scope.kind === 'one' && scope.letter.redrivenAt != null;
  const [which] = useState(() => meant(scope, new Date()));

  useEffect(() => {
    dialog.current?.showModal();
    redrive({ ...which, limit: LIMIT_MAX, dryRun: true })
      .then((dry) => setState({ kind: 'ready', dry }))
      .catch((error: unknown) => setError(asApiError(error)));
  }, []);

  const send = async (dry: RedriveResult) => {
    stop.current = false;
    setError(undefined);
    let [sent, skipped, more, failed] = [0, 0, true, false];
    try {
      while (more && !stop.current) {
        setState({ kind: 'sending', sent, of: Math.max(dry.redriven, sent) });
        const limit = scope.kind === 'one' ? 1 : Math.min(LIMIT_MAX, Math.max(1, perSecond * STEP_SECONDS));
        const result = await redrive({ ...which, limit, ratePerSecond: perSecond });
        sent += result.redriven;
        skipped = result.skipped;
        sentAny.current ||= result.redriven > 0;
        more = result.more && result.redriven > 0 && scope.kind === 'all';
      }
    } catch (error) {
      failed = true;
      setError(asApiError(error));
    }
    const done = { kind: 'done', sent, skipped, stopped: stop.current } as const;
    if (scope.kind === 'all' || sent === 0 || failed) {
      setState(done);
      return;
    }
    setState({ ...done, outcome: 'awaited' });
    const outcome = await outcomeOf(scope.letter, broken.signal).catch((): Outcome => ({ kind: 'unknown' }));
    if (!broken.signal.aborted) setState({ ...done, outcome });
  };

  const close = () => {
    stop.current = true;
    onClose(sentAny.current);
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="redrive-title" onClose={close} onCancel={close}>
      <h2 id="redrive-title">{scope.kind === 'one' ? `Send dead letter ${scope.letter.id} again` : 'Send all dead letters again'}</h2>
      {scope.kind === 'one' && <p class="reason">{plain(scope.letter.reason)}</p>}
      {error && <Failure error={error} />}
      {state.kind === 'checking' && !error && <p role="status">Dry run…</p>}
      {state.kind === 'ready' && <Ready dry={state.dry} one={scope.kind === 'one'} undecodable={scope.kind === 'one' && isUndecodable(scope.letter)} again={again} perSecond={perSecond} setPerSecond={setPerSecond} />}
      {state.kind === 'sending' && <Sending sent={state.sent} of={state.of} />}
      {state.kind === 'done' && <Done sent={state.sent} skipped={state.skipped} stopped={state.stopped} failed={error !== undefined} outcome={state.outcome} />}
      <div class="dialog-actions">
        {state.kind === 'sending' && <button type="button" onClick={() => { stop.current = true; }}>Stop</button>}
        {state.kind === 'ready' && <button type="button" class="primary" disabled={state.dry.redriven === 0} onClick={() => void send(state.dry)}>{scope.kind === 'one' ? 'Send again' : `Send ${grouped(state.dry.redriven)}${state.dry.more ? ' and more' : ''} again`}</button>}
        {state.kind !== 'sending' && <button type="button" onClick={close}>{state.kind === 'done' ? 'Close' : 'Cancel'}</button>}
      </div>
    </dialog>
  );
}

interface ReadyProps {
  dry: RedriveResult;
  one: boolean;
  undecodable: boolean;
  again: boolean;
  perSecond: number;
  setPerSecond: (perSecond: number) => void;
}

function Ready({ dry, one, undecodable, again, perSecond, setPerSecond }: ReadyProps) {
  if (dry.redriven === 0) return <p>Nothing would be sent{dry.skipped > 0 ? `: ${counted(dry.skipped, 'dead letter')} were sent again before` : ''}.</p>;
  return (
    <>
      <p>
        The dry run found <strong>{counted(dry.redriven, 'dead letter')}</strong>{dry.more ? ' and more' : ''} to send to the bus again
        {dry.skipped > 0 ? `, and skipped ${grouped(dry.skipped)} that were sent before` : ''}. Nothing was sent yet.
      </p>
      {again && <p>It was sent again before. If the first copy was stored, this one is recognized as a repeat within the dedup window.</p>}
      {!one && (
        <label class="rate">Dead letters a second
          <input type="number" min={1} max={RATE_MAX} value={perSecond} onInput={(event) => setPerSecond(Math.min(RATE_MAX, Math.max(1, Number(event.currentTarget.value) || 1)))} />
        </label>
      )}
      {undecodable && <p class="caution">The consumer could not decode the value as an event. Sent again as it is, it is most likely refused again.</p>}
      <p class="fine">If the cause is not fixed, {one ? 'it becomes a dead letter' : 'they become dead letters'} again.</p>
    </>
  );
}

function Sending({ sent, of }: { sent: number; of: number }) {
  return (
    <div role="status">
      <p>{grouped(sent)} of {grouped(of)} sent</p>
      <progress max={Math.max(1, of)} value={sent} aria-label="Dead letters sent" />
    </div>
  );
}

interface DoneProps {
  sent: number;
  skipped: number;
  stopped: boolean;
  failed: boolean;
  outcome: Outcome | 'awaited' | undefined;
}

function Done({ sent, skipped, stopped, failed, outcome }: DoneProps) {
  return (
    <div role="status">
      <p>
        <strong>{counted(sent, 'dead letter')} sent again{stopped ? ', then stopped' : ''}{failed ? ', then it failed' : ''}.</strong>{' '}
        {skipped > 0 && `${grouped(skipped)} skipped. `}
        {sent > 0 && !outcome && 'Within seconds, they are stored, or come back here with a reason.'}
      </p>
      {outcome && <p class="outcome"><OutcomeText outcome={outcome} /></p>}
    </div>
  );
}

function OutcomeText({ outcome }: { outcome: Outcome | 'awaited' }) {
  if (outcome === 'awaited') return <>Waiting for the outcome…</>;
  if (outcome.kind === 'unknown') return <>It is neither stored nor refused yet. Look here again in a while.</>;
  if (outcome.kind === 'refused') return <>Refused again: {plain(outcome.reason)}</>;
  const event = around(outcome.event);
  return <>Stored: <a href={href(event)} onClick={follow(event)}>open the event</a></>;
}
