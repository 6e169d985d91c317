//! Everything Spillway needs to run without another server.
//!
//! * [`segmented_log`]: an append-only log on disk in segments, over the small port [`storage`], so that tests can fill
//!   the disk, fail a sync or cut the power.
//! * [`bus`]: a partitioned bus over one log per partition. It is its own journal: acknowledged means fdatasynced.
//! * [`journal`]: records that wait for an external bus, also over one log per partition; [`inspection`] reads it from
//!   outside.
//! * [`disk`]: free space for all of them.
//! * [`store`]: events in SQLite, with positions in the same transaction, and in sealed segments.
//! * [`limiter`], [`agent_limiter`] and [`key_limiter`]: token buckets in memory.
//!
//! These are products, not mocks: they survive `kill -9` and power cuts as the contract says. Local file systems only:
//! network file systems do not guarantee what locks and fdatasync promise.

pub mod agent_limiter;
pub mod bus;
pub mod disk;
mod frame;
pub mod inspection;
pub mod journal;
pub mod key_limiter;
pub mod limiter;
mod lock;
mod partition_log;
pub mod segmented_log;
pub mod store;

pub use ::segments;
pub use ::storage;
