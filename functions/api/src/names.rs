//! m3ter's names in paths and queries, matched without regard to case. An unknown one is a 400 that names the known ones, never an empty list.

use outbill::values::configuration::{BILL, DESTINATIONS, DestinationKind};

use crate::{error::ApiError, query::Query};

/// The types of entity that m3ter integrates. Outbill sends Bills.
pub(crate) const ENTITY_TYPES: &[&str] = &[BILL, "Notification"];

/// The one spelling of a type of entity.
pub(crate) fn entity_type(given: &str) -> Result<&'static str, ApiError> {
    one_of("entityType", given, ENTITY_TYPES)
}

/// The one spelling of a destination.
pub(crate) fn destination(given: &str) -> Result<&'static str, ApiError> {
    one_of("destination", given, DESTINATIONS)
}

/// The one spelling of a name in a query, read by one of the above.
pub(crate) fn asked(
    query: &Query,
    name: &str,
    read: impl Fn(&str) -> Result<&'static str, ApiError>,
) -> Result<Option<&'static str>, ApiError> {
    query.given(name).map(read).transpose()
}

/// Whether a destination, or none for any, is one that Outbill sends to.
pub(crate) fn is_sent_to(destination: Option<&str>) -> bool {
    destination.is_none_or(|name| name.parse::<DestinationKind>().is_ok())
}

fn one_of(name: &str, given: &str, known: &'static [&'static str]) -> Result<&'static str, ApiError> {
    let found = known.iter().find(|known| known.eq_ignore_ascii_case(given)).copied();
    found.ok_or_else(|| {
        ApiError::bad_request(format!(
            "{name}: {given:?} is unknown; the known ones are {}",
            known.join(", ")
        ))
    })
}
