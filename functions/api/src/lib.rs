use std::sync::Arc;
pub fn router(_outbill: outbill::Outbill, _clock: Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>) -> axum::Router { axum::Router::new() }
