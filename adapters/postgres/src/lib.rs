//! The store in PostgreSQL.
//!
//! Constraints and invariants:
//! * Rows, dead letters and the position change in one transaction, fenced by the old position: the consumer that moves
//!   the position first wins, even over one that was only paused.
//! * New events go straight into the table of their day: few by one `INSERT`, many by binary `COPY`. Only a large chunk
//!   that contains an already stored record takes a slower path.
//! * The rollups of a day are complete from the moment in which its table is created ([`rollups`]).
//! * Every wait for a lock and every call has a time limit, whatever happens to server and network.
//! * A store lies entirely in one schema. No statement names a schema: it is the search path of every connection.
//! * All conversion of errors is in [`error`].

mod claims;
mod copy;
mod days;
mod error;
mod filter;
mod rollups;
mod rows;
mod schema;
mod store;
mod time;

pub use copy::Rows;
pub use store::{InvalidSchema, PostgresOptions, PostgresStore};
