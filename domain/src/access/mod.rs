//! Who may do what, as rules without input or output.

mod role;

pub use self::role::{Role, UnknownRole};
