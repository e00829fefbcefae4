//! Which lines count, on which source, and what keeps a bill from being added up.

use serde_json::{Value, json};

use super::*;
use crate::values::line_item_type::LineItemType;
use crate::values::samples;

fn line(money: &str) -> LineItem {
    samples::usage_line(money)
}

fn of_product(id: &str, money: &str) -> LineItem {
    LineItem {
        product: Some(id.to_owned()),
        ..line(money)
    }
}

fn of_aggregation(aggregation: Aggregation, money: &str) -> LineItem {
    LineItem {
        aggregation: Some(aggregation),
        ..line(money)
    }
}

fn on(dimension: &str) -> Place {
    Place::Dimension(dimension.parse().unwrap())
}

fn mapped(entity: &'static str, id: &str) -> Place {
    Place::Mapped(EntityReference {
        entity,
        id: id.to_owned(),
    })
}

/// A source with its money, its place and its lines.
type Expected = (Source, &'static str, Place, Vec<usize>);

fn check(settings: &[(&str, Value)], lines: &[LineItem], expect: &[Expected], culprits: &[Culprit]) {
    let totals = totals(&samples::bill(lines.to_vec()), &samples::marketplace(settings));
    let expect: BTreeMap<Source, SourceTotal> = expect
        .iter()
        .cloned()
        .map(|(source, money, place, lines)| {
            let money = samples::decimal(money);
            (source, SourceTotal { money, place, lines })
        })
        .collect();
    assert_eq!(totals.by_source, expect, "{settings:?} {lines:?}");
    assert_eq!(totals.culprits, culprits, "{settings:?} {lines:?}");
}

fn per_bill() -> [(&'static str, Value); 2] {
    [
        ("splitUsageLineItems", json!("ITEM_PER_BILL")),
        ("marketplaceBillDimension", json!("prod-all")),
    ]
}

fn per_aggregation() -> [(&'static str, Value); 1] {
    [("splitUsageLineItems", json!("ITEM_PER_AGGREGATION"))]
}

#[test]
fn each_split_adds_up_by_its_own_source() {
    let product = |id: &str| (Source::product(id), mapped("Product", id));
    let (a, a_place) = product("A");
    let (b, b_place) = product("B");
    check(&[], &[], &[], &[]);
    check(
        &[],
        &[
            of_product("A", "1.01"),
            of_product("B", "1.03"),
            of_product("A", "1.07"),
        ],
        &[(a, "2.08", a_place, vec![0, 2]), (b, "1.03", b_place, vec![1])],
        &[],
    );
    check(
        &per_bill(),
        &[of_product("A", "1.01"), line("1.03")],
        &[(Source::bill(), "2.04", on("prod-all"), vec![0, 1])],
        &[],
    );
    check(
        &per_aggregation(),
        &[
            of_aggregation(Aggregation::Simple("s".into()), "1.01"),
            of_aggregation(Aggregation::Compound("c".into()), "1.03"),
        ],
        &[
            (Source::aggregation("s"), "1.01", mapped("Aggregation", "s"), vec![0]),
            (
                Source::aggregation("c"),
                "1.03",
                mapped("CompoundAggregation", "c"),
                vec![1],
            ),
        ],
        &[],
    );
}

#[test]
fn excluded_types_and_zeros_do_not_count_and_credits_do() {
    let credit = |money: &str| LineItem {
        kind: LineItemType::CreditDeduction,
        ..line(money)
    };
    let lines = [line("1.01"), credit("-0.07"), line("0.00"), line("1.03")];
    let all = |money: &'static str, lines: Vec<usize>| (Source::bill(), money, on("prod-all"), lines);
    check(&per_bill(), &lines, &[all("1.97", vec![0, 1, 3])], &[]);
    let [split, dimension] = per_bill();
    let excluding = |kinds: Value| [split.clone(), dimension.clone(), ("excludedLineItemTypes", kinds)];
    check(
        &excluding(json!(["CREDIT_DEDUCTION"])),
        &lines,
        &[all("2.04", vec![0, 3])],
        &[],
    );
    check(&excluding(json!(["USAGE"])), &lines, &[all("-0.07", vec![1])], &[]);
    check(&excluding(json!(["USAGE", "CREDIT_DEDUCTION"])), &lines, &[], &[]);
    // What cancels out is a source of nothing, not a source that is gone.
    check(
        &per_bill(),
        &[line("1.01"), credit("-1.01")],
        &[all("0.00", vec![0, 1])],
        &[],
    );
}

#[test]
fn lines_without_what_the_split_needs_go_to_the_default_dimension_or_stop_the_bill() {
    let lines = [line("1.01"), of_product("A", "1.03"), line("1.07"), line("0")];
    let a = || (Source::product("A"), "1.03", mapped("Product", "A"), vec![1]);
    let default = ("marketplaceDefaultDimension", json!("prod-rest"));
    check(
        std::slice::from_ref(&default),
        &lines,
        &[a(), (Source::without_home(), "2.08", on("prod-rest"), vec![0, 2])],
        &[],
    );
    let homeless =
        |lines: Vec<usize>, money: &str, needed: &'static str, split: &'static str| Culprit::NoDefaultDimension {
            lines,
            money: samples::decimal(money),
            needed,
            split,
        };
    check(
        &[],
        &lines,
        &[a()],
        &[homeless(vec![0, 2], "2.08", "productId", "ITEM_PER_PRODUCT")],
    );
    check(
        &per_aggregation(),
        &lines,
        &[],
        &[homeless(
            vec![0, 1, 2],
            "3.11",
            "aggregationId or compoundAggregationId",
            "ITEM_PER_AGGREGATION",
        )],
    );
    let largest = Decimal::MAX.to_string();
    check(
        &[],
        &[line(&largest), line("1")],
        &[],
        &[homeless(vec![0, 1], &largest, "productId", "ITEM_PER_PRODUCT")],
    );
}

#[test]
fn another_currency_and_a_sum_too_large_are_named_and_the_rest_is_added_up() {
    let largest = Decimal::MAX.to_string();
    let too_large = Culprit::Amount {
        source_of_units: "product:A".to_owned(),
        error: amount::AmountError::TooLarge,
    };
    let lines = [of_product("A", &largest), of_product("A", "1"), of_product("B", "1.03")];
    let b = || (Source::product("B"), "1.03", mapped("Product", "B"), vec![2]);
    check(&[], &lines, &[b()], std::slice::from_ref(&too_large));
    check(
        &[("marketplaceCurrency", json!("EUR"))],
        &lines,
        &[b()],
        &[
            Culprit::Currency {
                bill: "USD".to_owned(),
                listing: "EUR".to_owned(),
            },
            too_large,
        ],
    );
}
