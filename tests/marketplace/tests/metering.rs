//! Calls and answers, as a client sees them.

use jiff::Timestamp;
use marketplace::{BuyerStatement, Call, ForeignUsage, IdenticalRepeat, Marketplace, SubscriptionJudged, SwitchChange};
use serde_json::{Value, json};

const NOW: &str = "2026-03-10T10:30:00Z";

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

fn record(dimension: &str, instant: &str, quantity: i64) -> Value {
    json!({
        "Timestamp": at(instant).as_second(), "Dimension": dimension, "Quantity": quantity,
        "CustomerAWSAccountId": "111122223333",
    })
}

fn send(marketplace: &mut Marketplace, records: Vec<Value>) -> Vec<String> {
    send_at(marketplace, records, NOW)
}

fn send_at(marketplace: &mut Marketplace, records: Vec<Value>, now: &str) -> Vec<String> {
    let request = json!({"ProductCode": "product", "UsageRecords": records}).to_string();
    match marketplace.batch_meter_usage("us-east-1", "999988887777", &request, at(now)) {
        Ok(response) => response["Results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["Status"].as_str().unwrap().to_owned())
            .collect(),
        Err(error) => vec![error.code],
    }
}

fn total(marketplace: &Marketplace) -> i64 {
    marketplace.billed().iter().map(|row| row.quantity).sum()
}

#[test]
fn the_first_write_of_an_hour_wins() {
    let mut marketplace = Marketplace::new();
    for (instant, quantity, status) in [
        ("2026-03-10T10:00:00Z", 7, "Success"),
        ("2026-03-10T10:00:00Z", 7, "Success"),
        ("2026-03-10T10:29:59Z", 7, "Success"),
        ("2026-03-10T10:00:00Z", 11, "DuplicateRecord"),
        ("2026-03-10T09:00:00Z", 13, "Success"),
    ] {
        let answer = send(&mut marketplace, vec![record("d", instant, quantity)]);
        assert_eq!(answer, [status], "{instant} {quantity}");
    }
    assert_eq!(total(&marketplace), 20);
    assert!(marketplace.violations().is_empty());
}

#[test]
fn a_repeat_keeps_its_receipt_and_a_region_keeps_its_own_records() {
    let mut marketplace = Marketplace::new();
    let request = json!({"ProductCode": "p", "UsageRecords": [record("d", NOW, 7)]}).to_string();
    let mut receipt = |region: &str| {
        let response = marketplace
            .batch_meter_usage(region, "999988887777", &request, at(NOW))
            .unwrap();
        response["Results"][0]["MeteringRecordId"].as_str().unwrap().to_owned()
    };
    let first = receipt("us-east-1");
    assert_eq!(first, receipt("us-east-1"));
    assert_ne!(first, receipt("eu-west-1"));
    assert_eq!(total(&marketplace), 14);
}

#[test]
fn an_identical_repeat_can_be_switched_to_duplicate() {
    let mut marketplace = Marketplace::new();
    marketplace.change_switches(SwitchChange {
        identical_repeat: Some(IdenticalRepeat::DuplicateRecord),
        ..SwitchChange::default()
    });
    for status in ["Success", "DuplicateRecord"] {
        assert_eq!(send(&mut marketplace, vec![record("d", NOW, 7)]), [status]);
    }
}

#[test]
fn one_bad_record_refuses_the_whole_batch() {
    let mut marketplace = Marketplace::new();
    marketplace.change_switches(SwitchChange {
        bad_dimensions: Some(vec!["unknown".to_owned()]),
        bad_customers: Some(vec!["nobody".to_owned()]),
        bad_licenses: Some(vec!["arn:aws:license-manager::1:license:bad".to_owned()]),
        ..SwitchChange::default()
    });
    let good = || record("d", "2026-03-10T10:00:00Z", 7);
    let with = |changes: Value| {
        let mut record = good();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => record.as_object_mut().unwrap().remove(name),
                value => record.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        record
    };
    let tag = |name: &str| json!({"Key": name, "Value": "v"});
    for (bad, code) in [
        (record("unknown", NOW, 1), "InvalidUsageDimensionException"),
        (record("d", "2026-03-09T10:00:00Z", 1), "TimestampOutOfBoundsException"),
        (record("d", "2026-03-10T10:30:01Z", 1), "TimestampOutOfBoundsException"),
        (
            with(json!({"CustomerAWSAccountId": null, "CustomerIdentifier": "nobody"})),
            "InvalidCustomerIdentifierException",
        ),
        (
            with(json!({"CustomerIdentifier": ""})),
            "InvalidCustomerIdentifierException",
        ),
        (
            with(json!({"CustomerIdentifier": "id"})),
            "InvalidCustomerIdentifierException",
        ),
        (
            with(json!({"CustomerAWSAccountId": null})),
            "InvalidCustomerIdentifierException",
        ),
        (with(json!({"CustomerAWSAccountId": "12a"})), "ValidationException"),
        (
            with(json!({"LicenseArn": "arn:aws:license-manager::1:license:l"})),
            "ValidationException",
        ),
        (with(json!({"Quantity": -1})), "ValidationException"),
        (with(json!({"Quantity": 2_147_483_648_i64})), "ValidationException"),
        (with(json!({"Dimension": ""})), "ValidationException"),
        (
            with(json!({"UsageAllocations": [{"AllocatedUsageQuantity": 6}]})),
            "InvalidUsageAllocationsException",
        ),
        (
            with(json!({"UsageAllocations": [{
                "AllocatedUsageQuantity": 7,
                "Tags": [tag("1"), tag("2"), tag("3"), tag("4"), tag("5"), tag("6")],
            }]})),
            "InvalidTagException",
        ),
    ] {
        let answer = send(&mut marketplace, vec![good(), bad.clone()]);
        assert_eq!(answer, [code], "{bad}");
    }
    assert!(marketplace.billed().is_empty());
    assert_eq!(marketplace.violations().len(), 3);
}

#[test]
fn a_batch_has_25_records_and_less_than_a_megabyte() {
    let mut marketplace = Marketplace::new();
    let many = |count: usize| -> Vec<Value> { (0..count).map(|index| record(&format!("d{index}"), NOW, 1)).collect() };
    assert_eq!(send(&mut marketplace, many(26)), ["ValidationException"]);
    assert_eq!(send(&mut marketplace, many(25)).len(), 25);
    let long = record(&"d".repeat(1_048_576), NOW, 1);
    assert_eq!(send(&mut marketplace, vec![long]), ["ValidationException"]);
    assert_eq!(marketplace.violations().len(), 2);
}

#[test]
fn a_buyer_who_left_is_refused_by_call_or_by_hour() {
    for (judged, occupies, nine, after_return) in [
        (SubscriptionJudged::AtCall, false, "CustomerNotSubscribed", "Success"),
        (SubscriptionJudged::AtUsageHour, false, "Success", "Success"),
        (
            SubscriptionJudged::AtCall,
            true,
            "CustomerNotSubscribed",
            "DuplicateRecord",
        ),
    ] {
        let mut marketplace = Marketplace::new();
        marketplace.change_switches(SwitchChange {
            subscription_judged: Some(judged),
            refused_customer_occupies_hour: Some(occupies),
            ..SwitchChange::default()
        });
        marketplace.state_buyer(&BuyerStatement {
            customer: "111122223333".to_owned(),
            subscribed: false,
            from: Some(at("2026-03-10T10:00:00Z")),
        });
        let usage = |hour: &str| vec![record("d", hour, 7)];
        let answer = send(&mut marketplace, usage("2026-03-10T09:00:00Z"));
        assert_eq!(answer, [nine], "{judged:?}");
        let answer = send(&mut marketplace, usage("2026-03-10T10:00:00Z"));
        assert_eq!(answer, ["CustomerNotSubscribed"]);
        marketplace.state_buyer(&BuyerStatement {
            customer: "111122223333".to_owned(),
            subscribed: true,
            from: None,
        });
        let answer = send(&mut marketplace, usage("2026-03-10T10:00:00Z"));
        assert_eq!(answer, [after_return], "{judged:?} {occupies}");
    }
}

#[test]
fn unprocessed_records_have_no_effect() {
    let mut marketplace = Marketplace::new();
    let records = vec![record("a", NOW, 7), record("b", NOW, 11), record("c", NOW, 13)];
    let request = json!({"ProductCode": "p", "UsageRecords": records}).to_string();
    let response = marketplace
        .call(Call {
            region: "us-east-1",
            account: "1",
            request_json: &request,
            now: at(NOW),
            leave_unprocessed: true,
        })
        .unwrap();
    assert_eq!(response["UnprocessedRecords"], json!(records[1..]));
    assert_eq!(total(&marketplace), 7);
}

#[test]
fn calls_are_throttled_only_when_asked() {
    let mut marketplace = Marketplace::new();
    for _ in 0..20 {
        assert_eq!(send(&mut marketplace, vec![record("d", NOW, 1)]), ["Success"]);
    }
    marketplace.change_switches(SwitchChange {
        throttle_calls_per_second: Some(2),
        ..SwitchChange::default()
    });
    for (now, status) in [
        (NOW, "Success"),
        (NOW, "Success"),
        (NOW, "ThrottlingException"),
        ("2026-03-10T10:30:01Z", "Success"),
    ] {
        assert_eq!(send_at(&mut marketplace, vec![record("d", NOW, 1)], now), [status]);
    }
}

#[test]
fn another_program_takes_the_hour() {
    let mut marketplace = Marketplace::new();
    let usage = |quantity| ForeignUsage {
        region: "us-east-1".to_owned(),
        product_code: Some("product".to_owned()),
        license_arn: None,
        customer: "111122223333".to_owned(),
        dimension: "d".to_owned(),
        hour: at(NOW),
        quantity,
        metering_record_id: None,
        at: None,
    };
    assert_eq!(marketplace.foreign_usage(&usage(5)).unwrap().status, "Success");
    assert_eq!(marketplace.foreign_usage(&usage(6)).unwrap().status, "DuplicateRecord");
    assert_eq!(send(&mut marketplace, vec![record("d", NOW, 7)]), ["DuplicateRecord"]);
    assert_eq!(total(&marketplace), 5);
}

#[test]
fn a_state_survives_json() {
    let mut marketplace = Marketplace::new();
    send(&mut marketplace, vec![record("d", NOW, 7)]);
    let text = serde_json::to_string(&marketplace).unwrap();
    let mut again: Marketplace = serde_json::from_str(&text).unwrap();
    assert_eq!(again, marketplace);
    send(&mut marketplace, vec![record("e", NOW, 11)]);
    send(&mut again, vec![record("e", NOW, 11)]);
    assert_eq!(again.billed(), marketplace.billed());
}
