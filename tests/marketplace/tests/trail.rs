//! What CloudTrail shows of calls: when, how often, in what words, and what it leaves out.

use jiff::{SignedDuration, Timestamp};
use marketplace::Marketplace;
use marketplace::lake::Query;
use marketplace::trail::TrailChange;
use serde_json::{Value, json};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn call(marketplace: &mut Marketplace, quantity: i64, now: &str) {
    let record = json!({
        "Timestamp": at("2025-06-10T10:00:00Z").as_second(), "Dimension": "d", "CustomerAWSAccountId": "111122223333", "Quantity": quantity,
    });
    let request = json!({ "ProductCode": "p", "UsageRecords": [record] }).to_string();
    let _ = marketplace.batch_meter_usage(REGION, ACCOUNT, &request, at(now));
}

fn lookup(marketplace: &Marketplace, more: Value, now: &str) -> Value {
    let mut request =
        json!({ "LookupAttributes": [{ "AttributeKey": "EventName", "AttributeValue": "BatchMeterUsage" }] });
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    marketplace
        .trail()
        .lookup((REGION, ACCOUNT), &request, at(now))
        .unwrap()
}

fn count(page: &Value) -> usize {
    page["Events"].as_array().unwrap().len()
}

#[test]
fn an_event_is_shown_after_its_delay_in_cloudtrails_words() {
    let mut marketplace = Marketplace::new();
    call(&mut marketplace, 7, "2025-06-10T10:05:00Z");
    assert_eq!(count(&lookup(&marketplace, json!({}), "2025-06-10T10:09:59Z")), 0);
    let page = lookup(&marketplace, json!({}), "2025-06-10T10:10:00Z");
    let event: Value = serde_json::from_str(page["Events"][0]["CloudTrailEvent"].as_str().unwrap()).unwrap();
    let record = &event["responseElements"]["results"][0]["usageRecord"];
    assert_eq!(record["timestamp"], "Jun 10, 2025 10:00:00 AM");
    assert_eq!(
        (&record["customerIdentifier"], &record["customerAWSAccountId"]),
        (&json!(""), &json!("111122223333"))
    );
    assert_eq!(event["requestParameters"]["productCode"], "p");
    for (region, account) in [("eu-west-1", ACCOUNT), (REGION, "999999999999")] {
        let elsewhere = marketplace
            .trail()
            .lookup((region, account), &json!({}), at("2025-06-10T11:00:00Z"))
            .unwrap();
        assert_eq!(count(&elsewhere), 0);
    }
    assert_eq!(
        count(&lookup(&marketplace, json!({}), "2025-09-20T00:00:00Z")),
        0,
        "90 days are kept"
    );
}

#[test]
fn pages_are_newest_first_and_lose_nothing() {
    let mut marketplace = Marketplace::new();
    marketplace.change_trail(TrailChange {
        delay_seconds: Some(0),
        duplicates: Some(true),
        drop: Some(1),
        ..TrailChange::default()
    });
    for minute in 0..4 {
        call(&mut marketplace, 7, &format!("2025-06-10T10:0{minute}:00Z"));
    }
    let (mut ids, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut more = json!({ "MaxResults": 4 });
        if let Some(token) = &token {
            more["NextToken"] = json!(token);
        }
        let page = lookup(&marketplace, more, "2025-06-10T11:00:00Z");
        let events = page["Events"].as_array().unwrap();
        ids.extend(
            events
                .iter()
                .map(|event| (event["EventTime"].as_i64().unwrap(), event["EventId"].to_string())),
        );
        token = page["NextToken"].as_str().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(ids.len(), 6, "three of four, twice");
    assert!(ids.is_sorted_by(|left, right| left.0 >= right.0));
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let refused = |request: Value| {
        marketplace
            .trail()
            .lookup((REGION, ACCOUNT), &request, at("2025-06-10T11:00:00Z"))
    };
    assert_eq!(
        refused(json!({ "NextToken": "x" })).unwrap_err().code,
        "InvalidNextTokenException"
    );
    assert_eq!(
        refused(json!({ "MaxResults": 51 })).unwrap_err().code,
        "InvalidMaxResultsException"
    );
}

#[test]
fn what_is_refused_or_too_large_says_so() {
    let mut marketplace = Marketplace::new();
    call(&mut marketplace, 7, "2025-06-12T10:05:00Z");
    marketplace.change_trail(TrailChange {
        element_bytes_max: Some(20),
        ..TrailChange::default()
    });
    call(&mut marketplace, 7, "2025-06-10T10:06:00Z");
    let page = lookup(&marketplace, json!({}), "2025-06-12T11:00:00Z");
    let event = |place: usize| -> Value {
        serde_json::from_str(page["Events"][place]["CloudTrailEvent"].as_str().unwrap()).unwrap()
    };
    assert_eq!(event(1)["errorCode"], "TimestampOutOfBoundsException");
    assert_eq!(event(0)["responseElements"]["omitted"], true);
}

#[test]
fn lake_answers_the_same_events_and_refuses_what_it_cannot_read() {
    let mut marketplace = Marketplace::new();
    call(&mut marketplace, 7, "2025-06-10T10:05:00Z");
    let statement = |conditions: &str| {
        format!(
            "SELECT eventID, eventTime, element_at(responseElements, 'results') AS results FROM 8c3d1f4e-0000 WHERE eventName = 'BatchMeterUsage' AND {conditions}"
        )
    };
    let rows = |conditions: &str, after: i64| {
        let query = Query::parse(&statement(conditions)).unwrap();
        let now = at("2025-06-10T10:05:00Z") + SignedDuration::from_secs(after);
        query.rows(marketplace.trail(), now, (0, 10))
    };
    let within = "eventTime >= '2025-06-10 10:00:00' AND eventTime < '2025-06-10 11:00:00'";
    assert_eq!(rows(within, 299).1, 0);
    let (found, total) = rows(within, 300);
    assert_eq!(total, 1);
    assert_eq!(found[0][1], json!({ "eventTime": "2025-06-10 10:05:00.000" }));
    let results: Value = serde_json::from_str(found[0][2]["results"].as_str().unwrap()).unwrap();
    assert_eq!(results[0]["status"], "Success");
    for none in [
        "awsRegion = 'eu-west-1'",
        "recipientAccountId = '9'",
        "eventTime < '2025-06-10 10:00:00'",
    ] {
        assert_eq!(rows(none, 300).1, 0, "{none}");
    }
    for bad in [
        "DROP TABLE x",
        "SELECT eventID FROM x",
        "SELECT eventID FROM x; y WHERE eventName = 'a'",
        "SELECT eventID FROM x WHERE eventName = 'a' OR 1",
        "SELECT count(*) FROM x WHERE eventName = 'a'",
        "SELECT eventID FROM x WHERE eventTime >= 'yesterday'",
    ] {
        assert_eq!(
            Query::parse(bad).unwrap_err().code,
            "InvalidQueryStatementException",
            "{bad}"
        );
    }
}
