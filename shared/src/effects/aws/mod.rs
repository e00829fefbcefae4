//! What is the same for every service of AWS that is called for a credential: who signs, how fast, and whether a call was signed at all.
//!
//! [`clients`] keeps one client for each role and region, [`pace`] keeps AWS's quotas, and [`signing`] tells a call that was never sent, because
//! there were no credentials for it, from one that the service answered.

pub(crate) mod clients;
pub(crate) mod pace;
pub(crate) mod signing;
