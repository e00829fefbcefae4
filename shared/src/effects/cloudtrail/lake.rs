//! CloudTrail Lake: an event data store, asked by SQL.
//!
//! A query runs on AWS's side and is asked for until it has ended; its results come page by page and are kept for days. A token here is the
//! query's id and AWS's own token.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::error::ProvideErrorMetadata;
use aws_sdk_cloudtrail::types::{AdvancedFieldSelector, EventDataStoreStatus, QueryStatus};
use jiff::Timestamp;
use serde_json::Value;

use super::clients::failed;
use super::event::{Parts, instant, is_true};
use super::{CloudTrail, Place, TrailError, TrailPage};
use crate::decisions::coverage::{self, FieldSelector, Selector, Store, Uncovered};
use crate::effects::aws::pace::jittered;
use crate::values::trail::{EVENT_NAME, EVENT_SOURCE, Stretch, TrailEvent};

/// An event holds up to 25 usage records, and each is in memory beside its entry: AWS would give 1,000 events at once, and take 300 MB.
const ROWS_PER_PAGE_MAX: i32 = 200;
/// Times a query is asked for; with pauses of up to ten seconds that is some five minutes.
const POLLS_MAX: u32 = 40;
const POLL_PAUSE: Duration = Duration::from_millis(250);
const POLL_PAUSE_MAX: Duration = Duration::from_secs(10);
//= https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_StartQuery.html
//# MaxConcurrentQueriesException: the maximum number of concurrent queries is 10
const STARTS_MAX: u32 = 8;
const START_PAUSE: Duration = Duration::from_secs(1);

/// Asks what the store records, and since when.
pub(super) async fn check(
    cloudtrail: &CloudTrail,
    place: &Place,
    store: &str,
    from: Timestamp,
) -> Result<Result<Option<Timestamp>, Uncovered>, TrailError> {
    let client = cloudtrail.client(place).await.client;
    let answer = client.get_event_data_store().event_data_store(store).send().await;
    let answer = answer.map_err(failed("CloudTrail GetEventDataStore"))?;
    let selectors = answer.advanced_event_selectors().iter().map(|selector| Selector {
        fields: selector.field_selectors().iter().map(field_selector).collect(),
    });
    let created = answer
        .created_timestamp()
        .map(aws_sdk_cloudtrail::primitives::DateTime::secs);
    let store = Store {
        enabled: answer.status() == Some(&EventDataStoreStatus::Enabled),
        status: answer
            .status()
            .map_or("unknown", EventDataStoreStatus::as_str)
            .to_owned(),
        multi_region: answer.multi_region_enabled() == Some(true),
        region: place.checks.region.clone(),
        created: created.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        selectors: selectors.collect(),
    };
    Ok(match coverage::uncovered(&store, &place.metering_region, from) {
        Some(uncovered) => Err(uncovered),
        None => Ok(store.created),
    })
}

fn field_selector(selector: &AdvancedFieldSelector) -> FieldSelector {
    FieldSelector {
        field: selector.field().to_owned(),
        equals: selector.equals().to_vec(),
        starts_with: selector.starts_with().to_vec(),
        ends_with: selector.ends_with().to_vec(),
        not_equals: selector.not_equals().to_vec(),
        not_starts_with: selector.not_starts_with().to_vec(),
        not_ends_with: selector.not_ends_with().to_vec(),
    }
}

pub(super) async fn page(
    cloudtrail: &CloudTrail,
    place: &Place,
    store: &str,
    stretch: Stretch,
    token: Option<&str>,
) -> Result<TrailPage, TrailError> {
    let client = cloudtrail.client(place).await.client;
    let (query, token) = match token {
        Some(token) => token.split_once(' ').ok_or(TrailError::Expired)?,
        None => (&*start(cloudtrail, &client, place, store, stretch).await?, ""),
    };
    let token = Some(token.to_owned()).filter(|token| !token.is_empty());
    for poll in 1..=POLLS_MAX {
        let answer = client
            .get_query_results()
            .query_id(query)
            .max_query_results(ROWS_PER_PAGE_MAX)
            .set_next_token(token.clone())
            .send()
            .await
            .map_err(failed("CloudTrail GetQueryResults"))?;
        match answer.query_status() {
            Some(QueryStatus::Finished) => {
                let rows = answer.query_result_rows();
                return Ok(TrailPage {
                    events: rows.iter().map(|row| event(row, &place.metering_region)).collect(),
                    next: answer.next_token().map(|next| format!("{query} {next}")),
                });
            }
            Some(QueryStatus::Queued | QueryStatus::Running) | None => {
                let pause = jittered(POLL_PAUSE, poll.min(8), &cloudtrail.random).min(POLL_PAUSE_MAX);
                tokio::time::sleep(pause).await;
            }
            Some(ended) => {
                return Err(TrailError::Query {
                    id: query.to_owned(),
                    status: ended.as_str().to_owned(),
                    message: answer.error_message().unwrap_or("no reason was given").to_owned(),
                });
            }
        }
    }
    Err(TrailError::Query {
        id: query.to_owned(),
        status: "RUNNING".to_owned(),
        message: format!("it has not ended after {POLLS_MAX} looks"),
    })
}

/// Starts a query and gives its id; waits while too many run at once.
async fn start(
    cloudtrail: &CloudTrail,
    client: &Client,
    place: &Place,
    store: &str,
    stretch: Stretch,
) -> Result<String, TrailError> {
    const OPERATION: &str = "CloudTrail StartQuery";
    let statement = statement(store, place, stretch).ok_or_else(|| TrailError::Refused {
        operation: OPERATION,
        message: "awsMarketplaceCloudtrailStoreId, the metering region or the account is none that a query can name"
            .to_owned(),
    })?;
    let mut tries = 1;
    loop {
        let answer = client.start_query().query_statement(&statement).send().await;
        let error = match answer {
            Ok(answer) => return answer.query_id.ok_or(TrailError::Expired),
            Err(error) => error,
        };
        let busy =
            error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("MaxConcurrentQueriesException");
        if !busy || tries >= STARTS_MAX {
            return Err(failed(OPERATION)(error));
        }
        tokio::time::sleep(jittered(START_PAUSE, tries.min(5), &cloudtrail.random)).await;
        tries = tries.saturating_add(1);
    }
}

/// The statement, from parts that were checked one by one: nothing of it is anybody's free text. `None`: a part is not what it has to be.
fn statement(store: &str, place: &Place, stretch: Stretch) -> Option<String> {
    // A store is named by the id at the end of its ARN.
    let id = store.rsplit('/').next().unwrap_or(store);
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let region = &place.metering_region;
    let is_region = region
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let is_account = |account: &String| account.bytes().all(|byte| byte.is_ascii_digit());
    if !is_id || !is_region || !place.account.as_ref().is_none_or(is_account) {
        return None;
    }
    let instant = |instant: Timestamp| instant.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let account = place.account.as_ref();
    let account = account.map_or_else(String::new, |account| format!(" AND recipientAccountId = '{account}'"));
    Some(format!(
        "SELECT eventID, eventTime, recipientAccountId, errorCode, \
         element_at(requestParameters, 'productCode') AS productCode, \
         element_at(requestParameters, 'omitted') AS requestOmitted, \
         element_at(responseElements, 'omitted') AS responseOmitted, \
         element_at(responseElements, 'results') AS results \
         FROM {id} \
         WHERE eventSource = '{EVENT_SOURCE}' AND eventName = '{EVENT_NAME}' \
         AND awsRegion = '{region}' AND eventTime >= '{}' AND eventTime < '{}'{account}",
        instant(stretch.from),
        instant(stretch.until),
    ))
}

/// One row: a list of maps of one entry each.
fn event(row: &[HashMap<String, String>], region: &str) -> TrailEvent {
    let column = |name: &str| {
        let mut columns = row.iter().flatten();
        let found = columns.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty() && value != "null")
    };
    let omitted = |name: &str| column(name).is_some_and(|text| is_true(&Value::String(text)));
    let at = column("eventTime").and_then(|text| instant(&Value::String(text)));
    let parts = Parts {
        id: column("eventID").unwrap_or_default(),
        at: at.unwrap_or(Timestamp::UNIX_EPOCH),
        account: column("recipientAccountId"),
        error_code: column("errorCode"),
        product_code: column("productCode"),
        omitted: omitted("requestOmitted") || omitted("responseOmitted"),
        results: column("results").map(Value::String),
    };
    parts.read(region)
}

#[cfg(test)]
#[path = "lake_tests.rs"]
mod tests;
