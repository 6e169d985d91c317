//! Everything Spillway needs to run without another server.
//!
//! * [`segmented_log`]: an append-only log on disk in segments, over a small [`storage`] port of its own so
//!   that tests can fill the disk, fail a sync or cut the power.
//! * [`bus`]: a partitioned bus over one log a partition. It is its own journal: acknowledged means
//!   fdatasynced.
//! * [`journal`]: what waits for a bus elsewhere, over one log a partition as well; [`inspection`] looks at it from outside.
//! * [`disk`]: how much space there is for all of them.
//! * [`store`]: events in SQLite, with positions in the same transaction.
//! * [`limiter`]: token buckets in memory.
//!
//! These are products, not mocks: they survive `kill -9` and power cuts as the contract says. Local file
//! systems only: network file systems do not keep the promises of locks and fdatasync.

pub mod bus;
pub mod disk;
mod frame;
pub mod inspection;
pub mod journal;
pub mod limiter;
mod partition_log;
pub mod segmented_log;
pub mod storage;
pub mod store;
