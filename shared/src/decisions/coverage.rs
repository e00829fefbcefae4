//! Whether a CloudTrail Lake event data store records what reconciliation looks for. If not, its silence says nothing.

use std::fmt;

use jiff::Timestamp;

use crate::values::trail::{EVENT_NAME, EVENT_SOURCE};

/// What the store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub enabled: bool,
    /// AWS's word for it.
    pub status: String,
    pub multi_region: bool,
    /// Where the store is.
    pub region: String,
    pub created: Option<Timestamp>,
    /// Any of them is enough.
    pub selectors: Vec<Selector>,
}

/// Which events one selector takes; all of its fields must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    pub fields: Vec<FieldSelector>,
}

/// What one field must be; an empty list asks nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    pub field: String,
    pub equals: Vec<String>,
    pub starts_with: Vec<String>,
    pub ends_with: Vec<String>,
    pub not_equals: Vec<String>,
    pub not_starts_with: Vec<String>,
    pub not_ends_with: Vec<String>,
}

/// Why the store does not record it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncovered {
    NotEnabled { status: String },
    Region { store: String, metering: String },
    CreatedLater { created: Timestamp },
    Selectors,
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uncovered::NotEnabled { status } => write!(
                f,
                "the event data store is {status}, not ENABLED: start its ingestion, or set awsMarketplaceCloudtrailSource to EVENT_HISTORY"
            ),
            Uncovered::Region { store, metering } => write!(
                f,
                "the event data store records {store} only, and metering is called in {metering}: make it a store of all regions, or set awsMarketplaceCloudtrailSource to EVENT_HISTORY"
            ),
            Uncovered::CreatedLater { created } => write!(
                f,
                "the event data store was made at {created}, after what is looked for: set awsMarketplaceCloudtrailSource to EVENT_HISTORY for this day"
            ),
            Uncovered::Selectors => write!(
                f,
                "the event data store's selectors leave out BatchMeterUsage (management events, write, of metering-marketplace.amazonaws.com): add it to them"
            ),
        }
    }
}

/// What is missing for finding metering of a region from an instant on. `None`: nothing.
pub fn uncovered(store: &Store, metering_region: &str, from: Timestamp) -> Option<Uncovered> {
    if !store.enabled {
        let status = store.status.clone();
        return Some(Uncovered::NotEnabled { status });
    }
    if !store.multi_region && store.region != metering_region {
        return Some(Uncovered::Region {
            store: store.region.clone(),
            metering: metering_region.to_owned(),
        });
    }
    if let Some(created) = store.created.filter(|created| *created > from) {
        return Some(Uncovered::CreatedLater { created });
    }
    (!store.selectors.iter().any(Selector::takes)).then_some(Uncovered::Selectors)
}

impl Selector {
    fn takes(&self) -> bool {
        let is_management = |field: &FieldSelector| field.field == "eventCategory" && field.fits("Management");
        self.fields.iter().any(is_management) && self.fields.iter().all(FieldSelector::takes)
    }
}

impl FieldSelector {
    fn takes(&self) -> bool {
        match self.field.as_str() {
            "eventCategory" => self.fits("Management"),
            "readOnly" => self.fits("false"),
            "eventSource" => self.fits(EVENT_SOURCE),
            "eventName" => self.fits(EVENT_NAME),
            "eventType" => self.fits("AwsApiCall"),
            // A field about who called, or of a kind that is not known, may leave some of it out.
            _ => false,
        }
    }

    fn fits(&self, value: &str) -> bool {
        let any = |list: &[String], fits: &dyn Fn(&str) -> bool| list.iter().any(|one| fits(one));
        let asks = |list: &[String], fits: &dyn Fn(&str) -> bool| list.is_empty() || any(list, fits);
        asks(&self.equals, &|one| value.eq_ignore_ascii_case(one))
            && asks(&self.starts_with, &|one| value.starts_with(one))
            && asks(&self.ends_with, &|one| value.ends_with(one))
            && !any(&self.not_equals, &|one| value == one)
            && !any(&self.not_starts_with, &|one| value.starts_with(one))
            && !any(&self.not_ends_with, &|one| value.ends_with(one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(field: &str, equals: &[&str], not_equals: &[&str]) -> FieldSelector {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        FieldSelector {
            field: field.to_owned(),
            equals: owned(equals),
            not_equals: owned(not_equals),
            ..FieldSelector::default()
        }
    }

    fn store(selectors: Vec<Vec<FieldSelector>>) -> Store {
        Store {
            enabled: true,
            status: "ENABLED".into(),
            multi_region: false,
            region: "us-east-1".into(),
            created: "2025-01-01T00:00:00Z".parse().ok(),
            selectors: selectors.into_iter().map(|fields| Selector { fields }).collect(),
        }
    }

    #[test]
    fn a_store_covers_metering_if_nothing_leaves_it_out() {
        let management = || field("eventCategory", &["Management"], &[]);
        let check = |store: Store, expect: Option<Uncovered>| {
            let from = "2025-06-10T00:00:00Z".parse().unwrap();
            assert_eq!(uncovered(&store, "us-east-1", from), expect, "{store:?}");
        };
        check(store(vec![vec![management()]]), None);
        check(
            store(vec![vec![management(), field("readOnly", &["false"], &[])]]),
            None,
        );
        check(
            store(vec![vec![
                management(),
                field("eventSource", &[], &["kms.amazonaws.com"]),
            ]]),
            None,
        );
        check(
            store(vec![vec![field("eventCategory", &["Data"], &[])], vec![management()]]),
            None,
        );
        // Named in full, it is taken.
        let named = vec![
            management(),
            field("eventName", &["BatchMeterUsage"], &[]),
            field("eventType", &["AwsApiCall"], &[]),
        ];
        check(store(vec![named]), None);
        for left_out in [
            vec![],
            vec![vec![field("eventCategory", &["Data"], &[])]],
            vec![vec![management(), field("readOnly", &["true"], &[])]],
            vec![vec![management(), field("eventSource", &[], &[EVENT_SOURCE])]],
            vec![vec![management(), field("eventName", &["MeterUsage"], &[])]],
            vec![vec![management(), field("eventType", &["AwsServiceEvent"], &[])]],
            // Without a category it takes nothing of management.
            vec![vec![field("eventSource", &[], &["kms.amazonaws.com"])]],
            vec![vec![
                management(),
                field("userIdentity.arn", &[], &["arn:aws:iam::1:role/x"]),
            ]],
        ] {
            check(store(left_out), Some(Uncovered::Selectors));
        }
        let fine = || store(vec![vec![management()]]);
        let stopped = Store {
            enabled: false,
            status: "STOPPED_INGESTION".into(),
            ..fine()
        };
        check(
            stopped,
            Some(Uncovered::NotEnabled {
                status: "STOPPED_INGESTION".into(),
            }),
        );
        let elsewhere = Store {
            region: "eu-west-1".into(),
            ..fine()
        };
        check(
            elsewhere.clone(),
            Some(Uncovered::Region {
                store: "eu-west-1".into(),
                metering: "us-east-1".into(),
            }),
        );
        check(
            Store {
                multi_region: true,
                ..elsewhere
            },
            None,
        );
        let just_then = Store {
            created: "2025-06-10T00:00:00Z".parse().ok(),
            ..fine()
        };
        check(just_then, None);
        let created: Timestamp = "2025-06-10T00:00:01Z".parse().unwrap();
        check(
            Store {
                created: Some(created),
                ..fine()
            },
            Some(Uncovered::CreatedLater { created }),
        );
    }

    #[test]
    fn what_is_missing_is_said_with_the_way_out() {
        let told = |uncovered: Uncovered, hints: &[&str]| {
            let text = uncovered.to_string();
            assert!(
                hints.iter().all(|hint| text.contains(hint)),
                "{text} lacks one of {hints:?}"
            );
        };
        let status = "STOPPED_INGESTION".to_owned();
        told(
            Uncovered::NotEnabled { status },
            &["STOPPED_INGESTION", "start its ingestion"],
        );
        let (store, metering) = ("eu-west-1".to_owned(), "us-east-1".to_owned());
        told(
            Uncovered::Region { store, metering },
            &["eu-west-1", "us-east-1", "all regions"],
        );
        let created = "2025-06-10T00:00:01Z".parse().unwrap();
        told(
            Uncovered::CreatedLater { created },
            &["2025-06-10T00:00:01Z", "EVENT_HISTORY"],
        );
        told(Uncovered::Selectors, &["BatchMeterUsage", "add it"]);
    }
}
