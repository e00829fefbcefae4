//! Bad bytes: what a fuzzer's bytes become, and what must hold for whoever reads them.
//!
//! Bytes that are taken as they are rarely get past the first brace. So they are read as a [`recipe`]: which good document to start from, and what to
//! do to it. Any engine can drive that, with coverage or without.

pub mod recipe;
pub mod targets;
