//! What Outbill keeps and whom it calls: the table, secrets, queues and mail. SDK types stay within a file of this ring.

pub mod access;
pub mod attempts;
pub mod bodies;
pub mod cloudtrail;
pub mod configurations;
pub mod connections;
pub mod credentials;
pub mod destinations;
pub mod events;
pub mod ids;
pub mod ledger;
pub mod m3ter;
pub mod mail;
pub mod mappings;
pub mod queue;
pub mod random;
pub mod reconciliations;
pub mod row;
pub mod runs;
pub mod secrets;
pub mod store_error;
pub mod sweeps;
pub mod table;
pub mod usage;
pub mod waiting;
pub mod webhooks;
