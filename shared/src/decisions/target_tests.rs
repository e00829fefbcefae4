//! Which mapping names the buyer and which the dimension, and what is said where none does.

use serde_json::{Value, json};

use super::*;
use crate::values::configuration::Audit;
use crate::values::samples;

const ARN: &str = "arn:aws:license-manager::294406891311:license:l-1";

fn entity(entity: &'static str, id: &str) -> EntityReference {
    EntityReference {
        entity,
        id: id.to_owned(),
    }
}

/// A mapping to `(system, table, external id)`, linked to a configuration or to none.
type Given = (&'static str, &'static str, &'static str, Option<&'static str>);

fn mappings(of: &[(EntityReference, &[Given])]) -> Mappings {
    let mapping = |entity: &EntityReference, (system, table, external_id, linked): &Given| ExternalMapping {
        id: "m".to_owned(),
        organization: samples::organization(),
        version: 1,
        m3ter_entity: entity.entity.to_owned(),
        m3ter_id: entity.id.clone(),
        external_system: (*system).to_owned(),
        external_table: (*table).to_owned(),
        external_id: (*external_id).to_owned(),
        configuration: linked.map(|id| ConfigurationId::new(id).unwrap()),
        audit: Audit::new(jiff::Timestamp::UNIX_EPOCH, "key"),
    };
    of.iter()
        .map(|(entity, given)| {
            (
                entity.clone(),
                given.iter().map(|given| mapping(entity, given)).collect(),
            )
        })
        .collect()
}

fn total(money: &str, place: Place) -> SourceTotal {
    SourceTotal {
        money: samples::decimal(money),
        place,
        lines: vec![0],
    }
}

fn totals(by_source: &[(Source, SourceTotal)]) -> Totals {
    Totals {
        by_source: by_source.iter().cloned().collect(),
        culprits: Vec::new(),
    }
}

fn find(totals: &Totals, mappings: &Mappings, settings: &[(&str, Value)]) -> Result<BTreeMap<Source, Target>, Invalid> {
    targets(
        &samples::account(),
        totals,
        mappings,
        &samples::configuration(),
        &samples::marketplace(settings),
    )
}

fn linked_only() -> [(&'static str, Value); 1] {
    [("enforceExternalMappingsForConfig", json!(true))]
}

fn whole_bill() -> Totals {
    let place = Place::Dimension("prod-users".parse().unwrap());
    totals(&[(Source::bill(), total("1.01", place))])
}

fn account() -> EntityReference {
    entity("Account", "account")
}

#[test]
fn the_account_and_every_mapped_source_need_a_mapping() {
    let totals = totals(&[
        (
            Source::product("A"),
            total("1.01", Place::Mapped(entity("Product", "A"))),
        ),
        (
            Source::without_home(),
            total("1.03", Place::Dimension("prod-rest".parse().unwrap())),
        ),
    ]);
    assert_eq!(
        needed(&samples::account(), &totals.by_source),
        [account(), entity("Product", "A")]
    );
    assert_eq!(needed(&samples::account(), &BTreeMap::new()), [account()]);
}

#[test]
fn a_source_tells_which_entities_may_have_named_its_dimension() {
    let check = |source: Source, expect: &[EntityReference]| {
        assert_eq!(entities(&source), expect, "{source:?}");
    };
    check(Source::product("A"), &[entity("Product", "A")]);
    check(Source::product("A:B"), &[entity("Product", "A:B")]);
    check(
        Source::aggregation("s"),
        &[entity("Aggregation", "s"), entity("CompoundAggregation", "s")],
    );
    check(Source::bill(), &[]);
    check(Source::without_home(), &[]);
}

#[test]
fn the_tables_customer_and_license_name_the_buyer() {
    let check = |given: &[Given], settings: &[(&str, Value)], expect: Result<Buyer, &str>| {
        let found = find(&whole_bill(), &mappings(&[(account(), given)]), settings)
            .map(|targets| targets[&Source::bill()].key.buyer.clone())
            .map_err(|invalid| invalid.to_string());
        match (found, expect) {
            (Err(text), Err(part)) => assert!(text.contains(part), "{given:?}: {text}"),
            (found, expect) => assert_eq!(found, expect.map_err(str::to_owned), "{given:?}"),
        }
    };
    let product = |customer: Customer| Buyer::Product {
        product_code: "prod".to_owned(),
        customer,
    };
    let by_account = |id: &str| Ok(product(Customer::AwsAccountId(id.to_owned())));
    let by_licence = || {
        Ok(Buyer::License {
            license_arn: ARN.to_owned(),
            customer_aws_account_id: "111122223333".to_owned(),
        })
    };
    let other = "222233334444";
    check(
        &[("AWS", "Customer", "111122223333", None)],
        &[],
        by_account("111122223333"),
    );
    check(
        &[("aws", "customer", "111122223333", None)],
        &[],
        by_account("111122223333"),
    );
    check(
        &[("AWS", "Customer", "ifAPi5AcF3", None)],
        &[],
        Ok(product(Customer::Identifier("ifAPi5AcF3".to_owned()))),
    );
    check(
        &[("AWS", "License", ARN, None), ("AWS", "Customer", "111122223333", None)],
        &[],
        by_licence(),
    );
    check(
        &[("AWS", "License", ARN, None), ("AWS", "Customer", "ifAPi5AcF3", None)],
        &[],
        Err("table Customer, which holds \"ifAPi5AcF3\""),
    );
    check(
        &[("AWS", "License", ARN, None)],
        &[],
        Err("table Customer, which holds nothing"),
    );
    let missing = || Err("Account account has no external mapping to AWS");
    check(&[], &[], missing());
    check(&[("Stripe", "Customer", "111122223333", None)], &[], missing());
    check(&[("AWS", "Dimension", "prod-users", None)], &[], missing());
    // One that is linked to the configuration wins, and one that is linked to another counts for nothing.
    check(
        &[
            ("AWS", "Customer", other, None),
            ("AWS", "Customer", "111122223333", Some("configuration")),
        ],
        &[],
        by_account("111122223333"),
    );
    check(
        &[
            ("AWS", "Customer", other, Some("another")),
            ("AWS", "Customer", "111122223333", None),
        ],
        &[],
        by_account("111122223333"),
    );
    check(&[("AWS", "Customer", other, Some("another"))], &[], missing());
    check(&[("AWS", "Customer", other, None)], &linked_only(), missing());
    check(
        &[
            ("AWS", "Customer", other, None),
            ("AWS", "Customer", "111122223333", Some("configuration")),
        ],
        &linked_only(),
        by_account("111122223333"),
    );
}

#[test]
fn one_dimension_takes_a_sources_money() {
    let buyer: (EntityReference, &[Given]) = (account(), &[("AWS", "Customer", "111122223333", None)]);
    let check = |given: &[Given], expect: Result<&str, &str>| {
        let a = entity("Product", "A");
        let totals = totals(&[(Source::product("A"), total("1.01", Place::Mapped(a.clone())))]);
        let found = find(&totals, &mappings(&[buyer.clone(), (a, given)]), &[])
            .map(|targets| targets[&Source::product("A")].key.dimension.clone())
            .map_err(|invalid| invalid.to_string());
        match (found, expect) {
            (Err(text), Err(part)) => assert!(text.contains(part), "{given:?}: {text}"),
            (found, expect) => assert_eq!(found.as_deref().map_err(String::as_str), expect, "{given:?}"),
        }
    };
    check(&[("AWS", "Dimension", "prod-users", None)], Ok("users"));
    check(&[("AWS", "Anything", "prod-users", None)], Ok("users"));
    check(
        &[
            ("AWS", "Dimension", "prod-users", None),
            ("AWS", "Other", "prod-users", None),
        ],
        Ok("users"),
    );
    check(
        &[
            ("AWS", "Dimension", "prod-users", None),
            ("AWS", "Other", "prod-seats", None),
        ],
        Err("is \"prod-users\": another mapping of it names \"prod-seats\""),
    );
    check(
        &[
            ("AWS", "Dimension", "prod-seats", None),
            ("AWS", "Dimension", "prod-users", Some("configuration")),
        ],
        Ok("users"),
    );
    check(
        &[("AWS", "Dimension", "users", None)],
        Err("the external mapping of Product A is \"users\": it has no hyphen"),
    );
    check(&[], Err("Product A has no external mapping"));
    check(
        &[("Stripe", "Dimension", "prod-users", None)],
        Err("Product A has no external mapping"),
    );
}

#[test]
fn a_target_is_the_buyer_the_dimension_and_the_money() {
    let a = entity("Product", "A");
    let totals = totals(&[
        (Source::product("A"), total("1.01", Place::Mapped(a.clone()))),
        (
            Source::without_home(),
            total("1.03", Place::Dimension("rest-all".parse().unwrap())),
        ),
    ]);
    let mappings = mappings(&[
        (account(), &[("AWS", "Customer", "111122223333", None)]),
        (a, &[("AWS", "Dimension", "prod-users", None)]),
    ]);
    let target = |product_code: &str, dimension: &str, money: &str| Target {
        key: UsageKey {
            region: "eu-west-1".to_owned(),
            buyer: Buyer::Product {
                product_code: product_code.to_owned(),
                customer: Customer::AwsAccountId("111122223333".to_owned()),
            },
            dimension: dimension.to_owned(),
        },
        product_code: product_code.to_owned(),
        money: samples::decimal(money),
    };
    assert_eq!(
        find(&totals, &mappings, &[("marketplaceMeteringRegion", json!("eu-west-1"))]),
        Ok(BTreeMap::from([
            (Source::product("A"), target("prod", "users", "1.01")),
            (Source::without_home(), target("rest", "all", "1.03")),
        ]))
    );
}

#[test]
fn one_licence_takes_no_second_products_money() {
    let [a, b] = ["A", "B"].map(|id| entity("Product", id));
    let check = |license: bool, of_b: &'static str, money: &str, expect: bool| {
        let totals = totals(&[
            (Source::product("A"), total("1.01", Place::Mapped(a.clone()))),
            (Source::product("B"), total(money, Place::Mapped(b.clone()))),
        ]);
        let buyer: &[Given] = &[("AWS", "Customer", "111122223333", None), ("AWS", "License", ARN, None)];
        let given = mappings(&[
            (account(), if license { buyer } else { &buyer[..1] }),
            (a.clone(), &[("AWS", "Dimension", "prod-users", None)]),
            (b.clone(), &[("AWS", "Dimension", of_b, None)]),
        ]);
        let found = find(&totals, &given, &[])
            .map(|_| ())
            .map_err(|invalid| invalid.to_string());
        let refused = found
            .as_ref()
            .is_err_and(|text| text.contains("products prod and rest"));
        assert_eq!(refused, expect, "{license} {of_b} {money}: {found:?}");
        assert_eq!(found.is_err(), expect);
    };
    check(true, "rest-users", "1.03", true);
    check(true, "rest-users", "0", false);
    check(true, "prod-users", "1.03", false);
    check(true, "rest-seats", "1.03", false);
    check(false, "rest-users", "1.03", false);
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let [a, b] = ["A", "B"].map(|id| entity("Product", id));
    let currency = Culprit::Currency {
        bill: "EUR".to_owned(),
        listing: "USD".to_owned(),
    };
    let totals = Totals {
        culprits: vec![currency.clone()],
        ..totals(&[
            (Source::product("A"), total("1.01", Place::Mapped(a.clone()))),
            (Source::product("B"), total("1.03", Place::Mapped(b.clone()))),
        ])
    };
    let given = mappings(&[(a, &[("AWS", "Dimension", "prod-users", None)])]);
    let invalid = find(&totals, &given, &[]).unwrap_err();
    assert_eq!(
        invalid.culprits(),
        [currency, Culprit::MissingMapping(account()), Culprit::MissingMapping(b)]
    );
}
