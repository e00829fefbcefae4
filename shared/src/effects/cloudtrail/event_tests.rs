use serde_json::json;

use super::*;

const REGION: &str = "us-east-1";

/// An event as AWS's guide shows one, with some things changed.
fn event(change: impl FnOnce(&mut Value)) -> Value {
    let record = json!({
        "dimension": "Dim1", "timestamp": "Apr 19, 2018 4:32:50 PM", "customerIdentifier": "", "customerAWSAccountId": "111122223333", "quantity": 7,
    });
    let mut event = json!({
        "eventVersion": "1.08", "eventTime": "2018-04-19T16:32:51Z", "eventSource": EVENT_SOURCE, "eventName": EVENT_NAME,
        "awsRegion": REGION, "eventID": "e", "recipientAccountId": "123456789012", "somethingNew": {"deep": [1]},
        "requestParameters": { "usageRecords": [record], "productCode": "p" },
        "responseElements": {
            "unprocessedRecords": [],
            "results": [{ "usageRecord": record, "meteringRecordId": "m", "status": "Success" }],
        },
    });
    change(&mut event);
    event
}

fn content(event: &Value) -> Content {
    read(Some("outer"), None, &event.to_string(), REGION)
        .expect("an event of metering")
        .content
}

fn only(content: Content) -> Observation {
    match content {
        Content::Answered { mut accepted, .. } if accepted.len() == 1 => accepted.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_is_read_as_it_comes() {
    let read = read(Some("outer"), None, &event(|_| {}).to_string(), REGION).unwrap();
    assert_eq!((read.id.as_str(), read.account.as_deref()), ("e", Some("123456789012")));
    assert_eq!(read.at, "2018-04-19T16:32:51Z".parse().unwrap());
    let seen = only(read.content);
    assert_eq!(seen.hour, "2018-04-19T16".parse().unwrap());
    assert_eq!((seen.quantity, seen.metering_record_id.as_deref()), (7, Some("m")));
    let account = Customer::AwsAccountId("111122223333".into());
    assert_eq!(
        seen.key.buyer,
        Buyer::Product {
            product_code: "p".into(),
            customer: account
        }
    );
}

#[test]
fn the_other_name_of_a_buyer_is_kept_where_an_event_has_both() {
    let other = |identifier: &str| {
        let event = event(|event| {
            event["responseElements"]["results"][0]["usageRecord"]["customerIdentifier"] = json!(identifier);
        });
        only(content(&event)).other_key.map(|key| key.buyer)
    };
    assert_eq!(other(""), None);
    let expect = Buyer::Product {
        product_code: "p".into(),
        customer: Customer::Identifier("ifAPi5AcF3".into()),
    };
    assert_eq!(other("ifAPi5AcF3"), Some(expect));
}

#[test]
fn all_identities_are_read() {
    let buyer = |change: fn(&mut Value)| {
        let event = event(|event| change(&mut event["responseElements"]["results"][0]["usageRecord"]));
        only(content(&event)).key.buyer
    };
    let product = |customer| Buyer::Product {
        product_code: "p".into(),
        customer,
    };
    assert_eq!(
        buyer(|record| *record =
            json!({ "dimension": "d", "timestamp": 1524155570, "customerIdentifier": "ifAPi5AcF3", "quantity": 7 })),
        product(Customer::Identifier("ifAPi5AcF3".into()))
    );
    assert_eq!(
        buyer(
            |record| *record = json!({ "dimension": "d", "timestamp": 1524155570000_i64, "customerAwsAccountId": 111122223333_i64, "quantity": "7" })
        ),
        product(Customer::AwsAccountId("111122223333".into()))
    );
    assert_eq!(
        buyer(|record| record["licenseArn"] = json!("arn:aws:license-manager::1:license:l-1")),
        Buyer::License {
            license_arn: "arn:aws:license-manager::1:license:l-1".into(),
            customer_aws_account_id: "111122223333".into()
        }
    );
}

#[test]
fn elements_may_be_json_in_json() {
    let event = event(|event| {
        let results = event["responseElements"]["results"].to_string();
        event["responseElements"] = json!(json!({ "results": results }).to_string());
    });
    assert_eq!(only(content(&event)).quantity, 7);
}

#[test]
fn what_is_no_evidence_says_so() {
    let check = |change: fn(&mut Value), expect: fn(&Content) -> bool| {
        let event = event(change);
        let content = content(&event);
        assert!(expect(&content), "{event}\n{content:?}");
    };
    let unreadable = |content: &Content| matches!(content, Content::Unreadable { .. });
    check(
        |event| event["errorCode"] = json!("ThrottlingException"),
        |content| matches!(content, Content::Refused { code } if code == "ThrottlingException"),
    );
    check(
        |event| event["responseElements"]["results"][0]["status"] = json!("DuplicateRecord"),
        |content| matches!(content, Content::Answered { accepted, not_accepted: 1 } if accepted.is_empty()),
    );
    for element in ["requestParameters", "responseElements"] {
        let event =
            event(|event| event[element] = json!({ "omitted": true, "originalSize": 137567, "reason": "too large" }));
        assert_eq!(content(&event), Content::Omitted, "{element}");
    }
    check(|event| event["responseElements"] = Value::Null, unreadable);
    check(
        |event| event["responseElements"]["results"] = json!("[half"),
        unreadable,
    );
    check(|event| event["responseElements"]["results"][0] = json!({}), unreadable);
    check(
        |event| event["requestParameters"]["productCode"] = Value::Null,
        unreadable,
    );
    let with_record = |field: &str, value: Value| {
        content(&event(|event| {
            event["responseElements"]["results"][0]["usageRecord"][field] = value
        }))
    };
    for (field, value) in [
        ("timestamp", json!("yesterday")),
        ("timestamp", Value::Null),
        ("quantity", json!(7.5)),
        ("quantity", json!(-1)),
        ("quantity", json!(2_147_483_648_i64)),
        ("customerAWSAccountId", Value::Null),
        ("dimension", json!("")),
    ] {
        let found = with_record(field, value.clone());
        assert!(unreadable(&found), "{field} {value}: {found:?}");
    }
    assert_eq!(only(with_record("quantity", Value::Null)).quantity, 0);
    let hidden = read(Some("outer"), None, "no JSON", REGION).unwrap();
    assert!(unreadable(&hidden.content) && hidden.id == "outer");
}

#[test]
fn events_about_something_else_are_passed_over() {
    for (field, value) in [
        ("eventSource", "kms.amazonaws.com"),
        ("eventName", "MeterUsage"),
        ("awsRegion", "eu-west-1"),
    ] {
        let event = event(|event| event[field] = json!(value));
        assert_eq!(read(None, None, &event.to_string(), REGION), None, "{field}");
    }
}

#[test]
fn dates_in_words_and_numbers() {
    let check = |value: Value, expect: Option<&str>| {
        assert_eq!(instant(&value), expect.map(|text| text.parse().unwrap()), "{value}");
    };
    check(json!("Apr 19, 2018 4:32:50 PM"), Some("2018-04-19T16:32:50Z"));
    check(json!("Apr 19, 2018, 4:32:50 PM"), Some("2018-04-19T16:32:50Z"));
    check(json!("Apr 19, 2018 4:32:50\u{202f}PM"), Some("2018-04-19T16:32:50Z"));
    check(json!("Dec 1, 2025 12:00:00 AM"), Some("2025-12-01T00:00:00Z"));
    check(json!("Dec 1, 2025 12:59:59 PM"), Some("2025-12-01T12:59:59Z"));
    check(json!("Dec 31, 2025 11:00:00 PM"), Some("2025-12-31T23:00:00Z"));
    check(json!("2025-06-10T10:00:00Z"), Some("2025-06-10T10:00:00Z"));
    check(json!("2025-06-10 10:00:00.000"), Some("2025-06-10T10:00:00Z"));
    check(json!(1749549600), Some("2025-06-10T10:00:00Z"));
    check(json!(1749549600.0), Some("2025-06-10T10:00:00Z"));
    check(json!(1749549600000_i64), Some("2025-06-10T10:00:00Z"));
    for bad in [
        json!("Apr 31, 2018 4:32:50 PM"),
        json!("4:32 PM"),
        json!(""),
        json!({}),
        Value::Null,
    ] {
        check(bad, None);
    }
}
