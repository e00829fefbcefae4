//! Decisions: pure functions from values to values, each with its reason. No clock, no network, no randomness.
//!
//! In the order a bill meets them: [`eligibility`], [`totals`], [`target`], [`advance`], [`claim`], [`batch`], [`verdict`], [`conclusion`]; and
//! [`explanation`], which leads back. What CloudTrail shows of it later: [`coverage`], [`comparison`], [`amendment`], [`report`].

pub mod advance;
pub mod amendment;
pub mod batch;
pub mod claim;
pub mod comparison;
pub mod conclusion;
pub mod coverage;
pub mod eligibility;
pub mod explanation;
pub mod report;
pub mod target;
pub mod thaw;
pub mod totals;
pub mod validation;
pub mod verdict;
