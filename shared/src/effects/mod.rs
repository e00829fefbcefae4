//! What Outbill keeps and whom it calls: the table, secrets, queues and mail. SDK types stay within a file of this ring.

pub mod access;
pub mod bodies;
pub mod configurations;
pub mod credentials;
pub mod events;
pub mod ids;
pub mod mail;
pub mod mappings;
pub mod queue;
pub mod row;
pub mod runs;
pub mod secrets;
pub mod store_error;
pub mod table;
pub mod waiting;
