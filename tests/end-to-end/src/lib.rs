//! The kit of the end-to-end tests: a [`Scene`] is Outbill in a sandbox on a virtual clock, with a seller who works through the real API.
//!
//! Whatever a test does, the scene looks at the table after every step: an entry's hour and quantity never change, what is committed never
//! exceeds the highest total that was ever owed, and the laws of the ledger hold. A test ends with [`Scene::end`], which checks them at rest,
//! and looks through the log.
//!
//! Amounts in tests are primes, so that a double count cannot cancel out.

pub mod bill;
mod copy;
pub mod logs;
pub mod message;
pub mod programs;
mod run;
pub mod scene;
pub mod set_up;
mod watch;

pub use bill::{Bill, Line, bill, june, line, usage};
pub use run::Run;
pub use scene::{Scene, at};
pub use set_up::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, GLOBEX, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, INITECH, INITECH_CUSTOMER, PRODUCT,
    acme, and, checks, dimension, per_aggregation, per_bill, per_product,
};
