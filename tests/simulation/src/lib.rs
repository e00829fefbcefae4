//! A deterministic simulation: random histories of bills, faults and crashes on the real functions, with the laws checked after every step.
//!
//! A seed makes a [`history`]; it is [played](play) on a [`stage`] of one thread, where the [`network`] beneath the SDK hands every request to
//! [`aws`]: the [`engine`] and the sandbox's stand-ins, with the [`books`] that look at the laws. The [`seller`] is the same in all of them. A history that
//! breaks a law is [shrunk](shrink) and [told](tell); a [`variant`] takes one rule away, to see that the simulation can fail.

pub mod aws;
pub mod books;
pub mod campaign;
pub mod engine;
pub mod history;
pub mod network;
pub mod play;
mod queue;
pub mod seller;
pub mod shrink;
pub mod stage;
pub mod tell;
pub mod variant;

/// The one table.
pub const TABLE: &str = "outbill";
