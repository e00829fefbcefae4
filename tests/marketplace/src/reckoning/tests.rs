use serde_json::json;

use super::*;

fn rules(split: Split) -> Rules {
    serde_json::from_value(json!({
        "split": split,
        "excludedLineItemTypes": ["CREDIT_MEMO"],
        "billDimension": "p-all",
        "defaultDimension": "p-rest",
        "dimensions": {"one": "p-first", "two": "p-second", "three": "p-first"},
        "buyers": {"account": "111122223333"},
    }))
    .unwrap()
}

fn bill(id: &str, lines: Value) -> Value {
    json!({"id": id, "accountId": "account", "lineItems": lines})
}

fn line(source: Option<&str>, amount: &str) -> Value {
    let amount: Value = serde_json::from_str(amount).unwrap();
    json!({
        "lineItemType": "USAGE", "productId": source, "aggregationId": source,
        "convertedSubtotal": amount,
    })
}

fn owed(split: Split, lines: Value) -> Vec<(String, i64)> {
    owed_by(&bill("b", lines), &rules(split))
        .unwrap()
        .into_iter()
        .map(|(key, units)| (key.dimension, units))
        .collect()
}

#[test]
fn a_sum_is_rounded_once_and_half_away_from_zero() {
    for (amounts, units) in [
        (vec!["0.004", "0.001"], 1),
        (vec!["0.0049"], 0),
        (vec!["-0.005"], -1),
        (vec!["0.1", "0.2"], 30),
        (vec!["1e-2"], 1),
        (vec!["123456789.015"], 12_345_678_902),
    ] {
        let lines = amounts.iter().map(|amount| line(None, amount)).collect();
        assert_eq!(
            owed(Split::ItemPerBill, lines),
            [("p-all".to_owned(), units)],
            "{amounts:?}"
        );
    }
}

#[test]
fn each_source_goes_to_its_dimension() {
    let lines = json!([
        line(Some("one"), "0.07"),
        line(Some("two"), "0.11"),
        line(Some("three"), "0.13"),
        line(None, "0.17"),
        {"lineItemType": "CREDIT_MEMO", "convertedSubtotal": -99},
    ]);
    for split in [Split::ItemPerProduct, Split::ItemPerAggregation] {
        assert_eq!(
            owed(split, lines.clone()),
            [
                ("p-first".to_owned(), 20),
                ("p-rest".to_owned(), 17),
                ("p-second".to_owned(), 11)
            ]
        );
    }
    assert_eq!(owed(Split::ItemPerBill, lines), [("p-all".to_owned(), 48)]);
}

#[test]
fn what_is_missing_is_an_error_and_changes_nothing() {
    let mut reckoning = Reckoning::new(Rules {
        default_dimension: None,
        ..rules(Split::ItemPerProduct)
    });
    reckoning.bill(&bill("b", json!([line(Some("one"), "0.07")]))).unwrap();
    for (lines, error) in [
        (
            json!([{"lineItemType": "USAGE", "productId": "one"}]),
            ReckoningError::Field("convertedSubtotal"),
        ),
        (
            json!([line(None, "0.01")]),
            ReckoningError::Dimension("lines without a source".to_owned()),
        ),
        (
            json!([line(Some("four"), "0.01")]),
            ReckoningError::Dimension("four".to_owned()),
        ),
    ] {
        assert_eq!(reckoning.bill(&bill("b", lines)), Err(error));
    }
    assert_eq!(reckoning.owed().into_values().collect::<Vec<_>>(), [7]);
    assert_eq!(
        reckoning.bill(&bill("b", json!([line(None, "0")]))),
        Ok(()),
        "a zero without a source is nothing"
    );
}

#[test]
fn the_highest_total_of_a_key_is_kept_across_bills_and_deletions() {
    let mut reckoning = Reckoning::new(rules(Split::ItemPerBill));
    let mut totals = Vec::new();
    let mut step = |reckoning: &mut Reckoning, change: Option<(&str, &str)>, id: &str| {
        match change {
            Some((_, amount)) => reckoning.bill(&bill(id, json!([line(None, amount)]))).unwrap(),
            None => reckoning.delete(id),
        }
        totals.push((
            reckoning.owed().values().sum::<i64>(),
            reckoning.highest().values().sum::<i64>(),
        ));
    };
    step(&mut reckoning, Some(("", "0.13")), "a");
    step(&mut reckoning, Some(("", "0.17")), "b");
    step(&mut reckoning, Some(("", "0.02")), "a");
    step(&mut reckoning, None, "b");
    step(&mut reckoning, Some(("", "0.31")), "a");
    assert_eq!(totals, [(13, 13), (30, 30), (19, 30), (2, 30), (31, 31)]);
}
