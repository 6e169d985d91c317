//! How accepted events reach the bus: the guarantee of each level, the accounts, and the delivery queue of a partition with
//! what decides when it may send.

mod accounts;
pub mod breaker;
mod guarantee;
pub mod queue;
pub mod replay_window;

pub use accounts::*;
pub use guarantee::*;
pub use queue::Queue;
