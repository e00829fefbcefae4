//! Decisions: pure functions from values to values, each with its reason. No clock, no network, no randomness.
//!
//! In the order a bill meets them: [`eligibility`], [`totals`], [`target`], [`advance`], [`claim`], [`batch`], [`verdict`], [`conclusion`]; and
//! [`explanation`], which leads back.

pub mod advance;
pub mod batch;
pub mod claim;
pub mod conclusion;
pub mod eligibility;
pub mod explanation;
pub mod target;
pub mod totals;
pub mod validation;
pub mod verdict;
