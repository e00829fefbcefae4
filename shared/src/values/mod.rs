//! What Outbill speaks of: identifiers, hours, amounts, and the documents of m3ter. Parsed once, at the edge.

pub mod account;
pub mod account_filter;
mod account_filter_parser;
pub mod amount;
pub mod bill;
pub mod configuration;
pub mod credential;
pub mod dimension;
pub mod entry;
pub mod hour;
pub mod ids;
pub mod line_item_type;
pub mod manifest;
pub mod mapping;
pub mod marketplace_configuration;
pub mod message;
pub mod metric;
pub mod run;
#[cfg(test)]
pub(crate) mod samples;
mod settings;
pub mod sweep;
pub mod trail;
pub mod usage_key;
