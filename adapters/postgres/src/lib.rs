//! The store in PostgreSQL.
//!
//! Constraints and invariants:
//! * Rows, dead letters and the position change in one transaction, fenced by the old position: whoever moves the
//!   position first wins, also over a consumer that has only paused.
//! * What is new goes straight into the table of its day: a few events by one `INSERT`, many by binary `COPY`. Only a large chunk
//!   that has a record that is there already takes a slower way.
//! * Nothing waits for a lock without a limit, and every call has one of time, whatever becomes of server and network.
//! * All of a store lies in one schema. No statement names a schema: the search path of every connection is this one.
//! * All conversion of errors is in [`error`].

mod claims;
mod copy;
mod days;
mod error;
mod rows;
mod schema;
mod store;
mod time;

pub use copy::Rows;
pub use store::{InvalidSchema, PostgresOptions, PostgresStore};
