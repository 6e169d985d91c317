//! Sealed events in Parquet files: writing, reading, searching, counting, merging and verifying them.
//!
//! Constraints and invariants:
//! * A segment never changes. Other tools read it as Parquet; `docs/segments.md` describes the format.
//! * [`domain::filter::EventFilter::matches`] decides what a search finds. Filters and ranges only leave out what cannot
//!   match.
//! * Every byte is compared with a checksum before it is used. Damage is an error, and never fewer results.
//! * This crate knows files through [`storage`] only. It reads no clock and keeps no list of segments: the store has
//!   that, in the transaction that replaces events by their segment. All calls block; threads that they start have ended when they
//!   return.

mod columns;
mod encoding;
mod error;
mod fuse;
mod index;
mod key;
mod key_set;
mod lookup;
mod merge;
mod needs;
mod parallel;
mod paths;
mod reader;
mod rows;
mod scan;
mod search;
mod sink;
mod stats;
mod tail;
mod texts;
mod verify;
mod writer;

pub use columns::{BLOCK_ROWS, FORMAT_VERSION, GROUP_BYTES_MAX, GROUP_ROWS_MAX};
pub use error::SegmentError;
pub use index::{SegmentSummary, TimeSpan};
pub use lookup::{KnownId, for_each_event, known};
pub use merge::{MERGE_BYTES_MAX, MERGE_SEGMENTS_MAX, merge};
pub use paths::PATH_COLUMNS_MAX;
pub use reader::Segment;
pub use rows::Row;
pub use scan::TimeIsUp;
pub use search::{PageSearch, find, search};
pub use stats::count;
pub use tail::TailSearch;
pub use verify::verify;
pub use writer::{SEGMENT_BYTES_MAX, SEGMENT_ROWS_MAX, SegmentBounds, SegmentWriter, TIMESTAMP_DISTANCE_MAX};
