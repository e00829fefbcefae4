//! What is a message, and what is none, and why.

use super::*;

#[test]
fn every_kind_of_message_is_told_apart() {
    let check = |body: &str, expect: fn(&Message) -> bool| {
        let message = Message::parse(body).unwrap_or_else(|error| panic!("{body}\n{error}"));
        assert!(expect(&message), "{body}\n{message:?}");
    };
    let bill = r#"{"id":"b","orgId":"o","accountId":"a","version":1,"currency":"USD","lineItems":[]}"#;
    let event = |name: &str, data: String| format!(r#"{{"eventName":"{name}","m3terEvent":{{"eventData":{data}}}}}"#);
    let is_bill = |message: &Message| {
        matches!(
            message,
            Message::Bill(BillMessage {
                change: Change::Calculated(_),
                ..
            })
        )
    };
    let is_deletion = |message: &Message| {
        matches!(
            message,
            Message::Bill(BillMessage {
                change: Change::Deleted { .. },
                ..
            })
        )
    };
    check(
        &event("billing.bill.updated", format!(r#"{{"newDto":{bill}}}"#)),
        is_bill,
    );
    check(
        &event("billing.bill.created", format!(r#"{{"newDto":{bill},"oldDto":null}}"#)),
        is_bill,
    );
    check(
        &event(
            "billing.bill.deleted",
            r#"{"oldDto":{"id":"b","orgId":"o","version":4}}"#.into(),
        ),
        is_deletion,
    );
    check(
        &event("billing.bill.deleted", format!(r#"{{"newDto":{bill}}}"#)),
        is_deletion,
    );
    check(
        &format!(r#"{{"orgId":"o","bill":{bill},"account":{{"id":"a"}}}}"#),
        is_bill,
    );
    check(r#"{"orgId":"o","billId":"b"}"#, |message| {
        matches!(message, Message::Reference { .. })
    });
    let lacks_lines = |message: &Message| matches!(message, Message::Unreadable(bill) if bill.lacks_lines);
    for lines in ["", r#","lineItems":null"#] {
        let named =
            format!(r#"{{"newDto":{{"id":"b","orgId":"o","accountId":"a","status":"PENDING","version":1{lines}}}}}"#);
        check(&event("billing.bill.updated", named), lacks_lines);
    }
    check(r#"{"orgId":"o","integrationRunId":"r","replay":true}"#, |message| {
        matches!(
            message,
            Message::Replay(Replay {
                mode: ReplayMode::Apply,
                ..
            })
        )
    });
    check(
        r#"{"orgId":"o","integrationRunId":"r","billId":"b","replay":true}"#,
        |message| matches!(message, Message::Replay(Replay { waited: Some(bill), .. }) if bill.as_str() == "b"),
    );
    check(
        r#"{"orgId":"o","integrationRunId":"r","replay":true,"remap":true}"#,
        |message| {
            matches!(
                message,
                Message::Replay(Replay {
                    mode: ReplayMode::Remap,
                    ..
                })
            )
        },
    );
    check(r#"{"flush":true}"#, |message| *message == Message::Tick);
    check(r#"{"storedBody":"x"}"#, |message| {
        matches!(message, Message::StoredBody { .. })
    });
    check(
        r#"{"detail-type":"License Deprovisioned - Manufacturer","source":"aws.agreement-marketplace","detail":{"product":{"code":"p"},"license":{"arn":"arn:aws:license-manager::111122223333:license:l-1"},"acceptor":{"accountId":"111122223333"}}}"#,
        |message| matches!(message, Message::Leaving(Leaving { customer, license_arn: Some(_), .. }) if customer == "111122223333"),
    );
    check(
        r#"{"Type":"Notification","Message":"{\"action\":\"unsubscribe-pending\",\"customer-identifier\":\"X01\",\"product-code\":\"p\"}"}"#,
        |message| matches!(message, Message::Leaving(Leaving { customer, license_arn: None, .. }) if customer == "X01"),
    );
    check(
        r#"{"Type":"Notification","Message":"{\"action\":\"subscribe-success\",\"customer-identifier\":\"X01\",\"product-code\":\"p\"}"}"#,
        |message| matches!(message, Message::Nothing { .. }),
    );
}

#[test]
fn a_bill_that_cannot_be_read_is_still_told_apart() {
    let check = |body: &str, account: Option<&str>, head: Option<Head>, culprit: &str| match Message::parse(body) {
        Ok(Message::Unreadable(bill)) => {
            assert_eq!(bill.bill.to_string(), "o#b", "{body}");
            assert_eq!(bill.account.as_ref().map(AccountId::as_str), account, "{body}");
            assert_eq!(bill.head, head, "{body}");
            assert!(bill.error.to_string().contains(culprit), "{body}\n{}", bill.error);
        }
        other => panic!("{body}\n{other:?}"),
    };
    check(r#"{"orgId":"o","bill":{"id":"b"}}"#, None, None, "accountId is missing");
    check(
        r#"{"orgId":"o","bill":{"id":"b","accountId":"a","version":3,"currency":"USD"}}"#,
        Some("a"),
        Some(Head::Version(3)),
        "lineItems is missing",
    );
    check(
        r#"{"eventName":"billing.bill.updated","m3terEvent":{"eventData":{"newDto":{"id":"b","orgId":"o","accountId":"a","version":3,"lineItems":[]}}}}"#,
        Some("a"),
        Some(Head::Version(3)),
        "currency is missing",
    );
}

#[test]
fn a_page_of_the_tick_reads_back() {
    let key = KeyHash::try_from("0123456789abcdef0123456789abcdef".to_owned()).unwrap();
    let entries = vec![(key.clone(), "2025-06-10T10".parse().unwrap())];
    let page = flush_page(std::slice::from_ref(&key), &entries);
    assert_eq!(
        Message::from_json(page),
        Ok(Message::FlushPage {
            keys: vec![key],
            entries
        })
    );
}

#[test]
fn what_is_no_message_says_why() {
    let check = |body: &str, expect: &str| {
        let error = Message::parse(body).unwrap_err().to_string();
        assert!(error.contains(expect), "{body}\n{error}\nlacks {expect}");
    };
    check("{", "not JSON");
    check("[]", "none that Outbill knows");
    check(r#"{"hello":1}"#, "none that Outbill knows");
    check(
        r#"{"eventName":"billing.billjob.created","m3terEvent":{}}"#,
        "billing.billjob.created",
    );
    check(
        r#"{"eventName":"billing.bill.updated","m3terEvent":{}}"#,
        "m3terEvent.eventData",
    );
    check(
        r#"{"eventName":"billing.bill.updated","m3terEvent":{"eventData":{"newDto":{"id":"b"}}}}"#,
        "orgId: it is missing",
    );
    check(r#"{"bill":{"id":"b"}}"#, "orgId: it is missing");
    check(
        r#"{"orgId":"o","bill":{"id":"b","orgId":"p"}}"#,
        "belongs to organization p",
    );
    check(
        r#"{"orgId":"o","bill":{"accountId":"a"}}"#,
        "bill without id cannot be read: id is missing",
    );
    check(
        r#"{"orgId":"o","integrationRunId":"r","replay":false}"#,
        "replay: it must be true",
    );
    check(r#"{"flush":1}"#, "flush: it must be true");
    check(
        r#"{"eventName":"billing.bill.deleted","m3terEvent":{"eventData":{}}}"#,
        "eventData.oldDto: it is missing",
    );
    check(
        r#"{"orgId":"o","account":{"id":"other"},"bill":{"id":"b","accountId":"a","version":1,"currency":"USD","lineItems":[]}}"#,
        "account: it is account other, but the bill is of account a",
    );
}

#[test]
fn pages_hold_a_call_of_keys_and_one_of_entries() {
    let key = |number: usize| KeyHash::try_from(format!("{number:032x}")).unwrap();
    let keys: Vec<KeyHash> = (0..60).map(key).collect();
    let hour: Hour = "2025-06-10T10".parse().unwrap();
    let entries: Vec<(KeyHash, Hour)> = (0..26).map(|number| (key(number), hour)).collect();
    let (mut sizes, mut all_keys, mut all_entries) = (Vec::new(), Vec::new(), Vec::new());
    for page in flush_pages(&keys, &entries) {
        let Ok(Message::FlushPage { keys, entries }) = Message::from_json(page) else {
            panic!("no page");
        };
        sizes.push((keys.len(), entries.len()));
        all_keys.extend(keys);
        all_entries.extend(entries);
    }
    assert_eq!(sizes, [(25, 25), (25, 1), (10, 0)]);
    assert_eq!(all_keys, keys);
    assert_eq!(all_entries, entries);
    assert_eq!(flush_pages(&[], &[]), Vec::<Value>::new());
}
