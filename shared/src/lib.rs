//! How a m3ter Bill reaches the system that charges: values ← decisions ← effects ← stories.
//!
//! An inner ring never names an outer one. Time enters as an argument called `now`; no module reads a clock.

pub mod decisions;
#[cfg(feature = "effects")]
pub mod effects;
pub mod environment;
#[cfg(feature = "effects")]
pub mod outbill;
#[cfg(feature = "effects")]
pub mod stories;
pub mod values;

pub use environment::Environment;
#[cfg(feature = "effects")]
pub use outbill::Outbill;
