//! The lock on state that a panic cannot leave inconsistent.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, even if a thread that held it has panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
