//! Reading blocks with several threads.
//!
//! Constraints and invariants:
//! * The caller's thread reads the first row group alone: most pages need no more.
//! * Neighbouring blocks of a row group are read by one thread, which has the columns of the group in memory.
//! * All calls together have at most one further thread for each processor but one. A call that gets none reads alone.
//! * Blocks begin in the order in which they are given. After a break or an error, only blocks that have begun are read.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

use crate::error::SegmentError;
use crate::reader::Segment;
use crate::scan::{Plan, Scan, TimeIsUp, Unit};

/// Further threads of one call.
const FURTHER_MAX: usize = 3;
/// Further threads of all calls.
static FURTHER: AtomicUsize = AtomicUsize::new(0);

/// Permission for a further thread.
struct Permit;

impl Permit {
    /// `None` if there are as many as processors, without the thread of the caller.
    fn take() -> Option<Self> {
        let most = available_parallelism().map_or(1, NonZeroUsize::get) - 1;
        let more = |further| (further < most).then_some(further + 1);
        FURTHER.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        FURTHER.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks what the threads share.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `look` with each block, until it breaks.
///
/// # Errors
/// The first one of a thread.
pub(crate) fn each_block<'s>(
    segments: &'s [Arc<Segment>],
    plan: &'s Plan,
    units: &[Unit],
    time_is_up: TimeIsUp<'s>,
    look: impl Fn(&mut Scan<'s>, Unit) -> Result<ControlFlow<()>, SegmentError> + Sync,
) -> Result<(), SegmentError> {
    let groups: Vec<&[Unit]> =
        units.chunk_by(|one, next| (one.segment, one.group) == (next.segment, next.group)).collect();
    let Some((first, rest)) = groups.split_first() else { return Ok(()) };
    let look_at = |scan: &mut Scan<'s>, group: &[Unit]| {
        for unit in group {
            if look(scan, *unit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    };
    let mut scan = Scan::new(segments, plan, time_is_up);
    if look_at(&mut scan, first)?.is_break() || rest.is_empty() {
        return Ok(());
    }
    let next = AtomicUsize::new(0);
    let read = |mut scan: Scan<'s>| {
        while let Some(group) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
            let looked = look_at(&mut scan, group);
            if !matches!(looked, Ok(ControlFlow::Continue(()))) {
                next.store(rest.len(), Ordering::Relaxed);
                return looked.map(|_| ());
            }
        }
        Ok(())
    };
    let read = &read;
    scope(|scope| {
        let permits = (1..rest.len()).take(FURTHER_MAX).map_while(|_| Permit::take());
        let begin = |permit: Permit| {
            let thread = Builder::new().name("search".to_owned());
            thread.spawn_scoped(scope, move || {
                let _permit = permit;
                read(Scan::new(segments, plan, time_is_up))
            })
        };
        // If the operating system has no thread left, fewer read.
        let further: Vec<_> = permits.map_while(|permit| begin(permit).ok()).collect();
        let mut done = read(scan);
        for thread in further {
            done = done.and(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    })
}
