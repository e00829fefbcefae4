//! Event history: what every account has, for 90 days, without being asked to keep it.

use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};

use super::clients::failed;
use super::{CloudTrail, Place, TrailError, TrailPage, event};
use crate::values::trail::{EVENT_NAME, Stretch};

//= https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
//# MaxResults: the number of events to return; possible values are 1 through 50
const EVENTS_PER_PAGE_MAX: i32 = 50;
const OPERATION: &str = "CloudTrail LookupEvents";

pub(super) async fn page(
    cloudtrail: &CloudTrail,
    place: &Place,
    stretch: Stretch,
    token: Option<&str>,
) -> Result<TrailPage, TrailError> {
    let paced = cloudtrail.client(place).await;
    paced.pace.turn().await;
    let name = LookupAttribute::builder()
        .attribute_key(LookupAttributeKey::EventName)
        .attribute_value(EVENT_NAME)
        .build();
    let name = name.map_err(|error| TrailError::Unavailable {
        operation: OPERATION,
        source: Box::new(error),
    })?;
    let answer = paced
        .client
        .lookup_events()
        .lookup_attributes(name)
        .start_time(DateTime::from_secs(stretch.from.as_second()))
        .end_time(DateTime::from_secs(stretch.until.as_second()))
        .max_results(EVENTS_PER_PAGE_MAX)
        .set_next_token(token.map(str::to_owned))
        .send()
        .await
        .map_err(failed(OPERATION))?;
    let events = answer.events().iter().filter_map(|found| {
        let seconds = found.event_time().map(DateTime::secs);
        let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        event::read(
            found.event_id(),
            at,
            found.cloud_trail_event().unwrap_or_default(),
            &place.metering_region,
        )
    });
    Ok(TrailPage {
        events: events.collect(),
        next: answer.next_token().map(str::to_owned),
    })
}
