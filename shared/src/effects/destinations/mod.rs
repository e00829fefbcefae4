//! Where bills are sent. A destination is one folder: its wire types, its requests, its verdicts. It sees no store and no other destination.

pub mod aws_marketplace;
