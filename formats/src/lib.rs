//! Reads lines of common log formats: lines in, drafts of events out.
//!
//! Constraints:
//! * This crate opens no files or sockets, reads no clock and logs nothing: the time of day is an argument.
//! * A line never vanishes: every line with text becomes an event, or a part of exactly one event. What is not
//!   understood stays text.
//! * A draft keeps the rules of the domain: limits, valid metadata, no member twice. Whatever the input, nothing
//!   panics.
//! * Work is linear in the length of a line, and everything that is held is bounded.

mod access;
mod ansi;
mod draft;
mod fields;
mod format;
mod joining;
mod json;
mod levels;
mod limits;
mod logfmt;
mod pattern;
mod reader;
mod reading;
mod sentence;
pub mod syslog;
mod text;
mod times;
mod wrapper;
mod zone;

pub use self::draft::{Draft, Event, Origin};
pub use self::format::{Format, InvalidFormat, Name, Options};
pub use self::levels::of_syslog;
pub use self::pattern::Pattern;
pub use self::reader::{Reader, draft, object};
pub use self::zone::{InvalidZone, Zone};
