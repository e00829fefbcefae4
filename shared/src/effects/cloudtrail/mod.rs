//! CloudTrail: what AWS itself recorded of `BatchMeterUsage`, read page by page from either of its two records.
//!
//! One seam, two sources: event history (`LookupEvents`) and CloudTrail Lake (`StartQuery`, `GetQueryResults`). Both give the same
//! [`TrailEvent`]s; what is read where is decided by [`Place`]. Reading changes nothing, so every request may be repeated, and the SDK does.
//!
//! # Invariants
//! - A page that was not read to its end is an error, never a short page: absence is evidence.
//! - A token belongs to its stretch and source. One that AWS does not know any more is [`TrailError::Expired`]: the stretch is read anew.

mod clients;
mod event;
mod history;
mod lake;

use jiff::Timestamp;

use crate::decisions::coverage::Uncovered;
use crate::values::configuration::{CloudtrailChecks, CloudtrailSource};
use crate::values::credential::IntegrationCredential;
use crate::values::trail::{Stretch, TrailEvent};

pub use clients::CloudTrail;
pub use event::read as read_event;

/// Which record is read.
#[derive(Debug, Clone)]
pub struct Place {
    pub checks: CloudtrailChecks,
    /// The region whose metering is looked for.
    pub metering_region: String,
    /// The account that meters, where it is known: other accounts of a shared store are left out.
    pub account: Option<String>,
    /// Who reads.
    pub credential: IntegrationCredential,
}

/// A part of a stretch.
#[derive(Debug, Clone, Default)]
pub struct TrailPage {
    pub events: Vec<TrailEvent>,
    /// Where the stretch goes on; none at its end.
    pub next: Option<String>,
}

/// Why CloudTrail did not say what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// It did not answer, or was busy; it can be asked again.
    #[error("{operation} did not succeed; it can be tried again")]
    Unavailable {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The results of a query or its pages are gone; the stretch can be read anew.
    #[error("CloudTrail no longer has the page that was to be read next")]
    Expired,
    /// The query ended without a result.
    #[error("the CloudTrail Lake query {id} ended as {status}: {message}")]
    Query {
        id: String,
        status: String,
        message: String,
    },
    /// It will not answer until somebody changes something.
    #[error("CloudTrail refuses {operation}: {message}")]
    Refused { operation: &'static str, message: String },
}

impl TrailError {
    /// Whether asking again can help.
    pub fn is_passing(&self) -> bool {
        match self {
            TrailError::Unavailable { .. } | TrailError::Expired | TrailError::Query { .. } => true,
            TrailError::Refused { .. } => false,
        }
    }
}

impl CloudTrail {
    /// Since when the source records what is looked for; `None`: as long as anybody can ask. The inner error says why it does not from an instant on.
    pub async fn check(
        &self,
        place: &Place,
        from: Timestamp,
    ) -> Result<Result<Option<Timestamp>, Uncovered>, TrailError> {
        match (place.checks.source, &place.checks.store_id) {
            (CloudtrailSource::EventDataStore, Some(store)) => lake::check(self, place, store, from).await,
            // Every account has its event history, of its own region and all management events.
            (CloudtrailSource::EventHistory, _) | (CloudtrailSource::EventDataStore, None) => Ok(Ok(None)),
        }
    }

    /// One page of a stretch; the first without a token.
    pub async fn page(&self, place: &Place, stretch: Stretch, token: Option<&str>) -> Result<TrailPage, TrailError> {
        match (place.checks.source, &place.checks.store_id) {
            (CloudtrailSource::EventDataStore, Some(store)) => lake::page(self, place, store, stretch, token).await,
            (CloudtrailSource::EventHistory, _) | (CloudtrailSource::EventDataStore, None) => {
                history::page(self, place, stretch, token).await
            }
        }
    }
}
