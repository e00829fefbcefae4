//! Stories: straight lines of named steps over the effects.

pub mod dispatch;
pub mod explain;
pub mod reconcile;
