//! Outbill on one machine: its functions, around them stand-ins for AWS and m3ter, and a clock that
//! stands still until it is moved.
//!
//! [`Sandbox::start`] is given the functions through [`Functions`], so that the same sandbox serves
//! the program, the end-to-end tests and the tests of the stand-ins themselves.
//!
//! In the order in which things depend on each other: the [`clock`]; what the stand-ins
//! [hold](holdings) and the [`journal`] that keeps it; the [`world`] that puts both under one lock;
//! what the template lets each function do ([`authorization`]); the [AWS services](aws) and [`m3ter`]; the [event source](queue) and the [`schedules`]; the
//! [`controls`] and the [`page`].

pub mod access_key;
pub mod authorization;
pub mod aws;
pub mod backup;
pub mod clock;
pub mod consumption;
pub mod controls;
pub mod cost;
pub mod demo;
pub mod faults;
pub mod functions;
pub mod holdings;
pub mod journal;
pub mod laws;
pub mod load;
pub mod m3ter;
pub mod m3ter_lists;
pub mod metrics;
pub mod options;
pub mod page;
pub mod queue;
pub mod queues;
pub mod requests;
mod sandbox;
pub mod schedules;
pub mod seam;
pub mod secrets;
pub mod seller;
pub mod serve;
pub mod tls;
pub mod world;

pub use authorization::{Denial, Function};
pub use clock::Clock;
pub use faults::{Fault, FaultError, FaultKind, Service};
pub use holdings::{AccessKey, Change, Mail};
pub use options::Options;
pub use queues::Message;
pub use sandbox::{Addresses, Handled, Sandbox, SendError, Shared, StartError};
pub use seam::{BuildError, Dispatch, Functions, Reconcile, Surroundings, no_reconcile};
