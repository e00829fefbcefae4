//! AWS Marketplace metering by its documented rules, and the reckoning of what is owed.
//!
//! The package is the counterpart of the program under test, so it must not share a line with it:
//! every rule is restated from AWS's own documents and quoted beside the code that obeys it.
//! Otherwise a misreading would be confirmed by its own copy.
//!
//! Everything is synchronous and deterministic. Time is an argument, identifiers are counted, and a
//! whole state can be written to JSON and read back, so a history can be replayed call by call.
//!
//! - [`Marketplace`] holds what AWS holds: the first write of each key and hour.
//! - [`trail`] and [`lake`] are what CloudTrail records of the calls, and the two ways to ask for it.
//! - [`reckoning`] says, from the bills alone, what each buyer owes.
//!
//! Where AWS's documents contradict each other or are silent, a switch in [`Switches`] chooses, and
//! a program is right only if it is right under every setting.

mod billed;
mod buyers;
mod error;
pub mod lake;
mod marketplace;
pub mod reckoning;
mod record;
mod request;
mod rules;
mod switches;
pub mod trail;

pub use billed::{Billed, ForeignUsage, ForeignUsageError, ForeignUsageOutcome};
pub use buyers::{BuyerStatement, Buyers};
pub use error::MeteringError;
pub use marketplace::{Call, Marketplace};
pub use record::{Customer, Held, Identity, UsageKey};
pub use rules::{QUANTITY_MAX, REQUEST_BYTES_MAX, USAGE_RECORDS_PER_CALL_MAX, hour_of, window_refusal};
pub use switches::{IdenticalRepeat, LicensePeriod, SubscriptionJudged, SwitchChange, Switches};
