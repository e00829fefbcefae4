//! What is said of a bill that cannot be sent, and what lets it pass.

use super::*;
use crate::values::samples;

fn entity(entity: &'static str, id: &str) -> EntityReference {
    EntityReference {
        entity,
        id: id.to_owned(),
    }
}

fn missing(kind: &'static str, id: &str) -> Culprit {
    Culprit::MissingMapping(entity(kind, id))
}

fn bad_mapping() -> Culprit {
    Culprit::BadMapping {
        entity: entity("Product", "P"),
        external_id: "users".to_owned(),
        reason: "it has no hyphen".to_owned(),
    }
}

fn unreadable() -> Culprit {
    Culprit::Unreadable(BillError::one("lineItems is missing"))
}

fn homeless(lines: std::ops::Range<usize>, money: &str) -> Culprit {
    Culprit::NoDefaultDimension {
        lines: lines.collect(),
        money: samples::decimal(money),
        needed: "productId",
        split: "ITEM_PER_PRODUCT",
    }
}

fn held(units: Units) -> Culprit {
    Culprit::Held {
        source_of_units: Source::product("A"),
        units,
        from: "prod-users".to_owned(),
        to: "prod-seats".to_owned(),
    }
}

fn amount() -> Culprit {
    Culprit::Amount {
        source_of_units: "product:A".to_owned(),
        error: AmountError::TooLarge,
    }
}

fn currency() -> Culprit {
    Culprit::Currency {
        bill: "EUR".to_owned(),
        listing: "USD".to_owned(),
    }
}

fn invalid(culprits: &[Culprit]) -> Invalid {
    Invalid::of(culprits.to_vec()).unwrap()
}

#[test]
fn an_entity_is_named_for_people_and_found_by_its_names() {
    let account = EntityReference::account(&samples::account());
    assert_eq!(account, entity("Account", "account"));
    assert_eq!(account.to_string(), "Account account");
    assert_eq!(EntityReference::of_mapping("Account", "account"), Some(account));
    assert_eq!(EntityReference::of_mapping("Plan", "account"), None);
}

#[test]
fn every_culprit_says_what_is_wrong_and_the_way_out() {
    let check = |culprit: Culprit, wrong: &str, way_out: &str| {
        let text = culprit.to_string();
        assert!(text.contains(wrong) && text.contains(way_out), "{text}");
    };
    let again = "the bill is sent again by itself";
    check(missing("Account", "a"), "Account a has no external mapping", again);
    check(bad_mapping(), "of Product P is \"users\": it has no hyphen", again);
    check(unreadable(), "lineItems is missing", "correct it in m3ter");
    check(
        currency(),
        "in EUR, but the listing is in USD",
        "set marketplaceCurrency",
    );
    check(
        homeless(3..4, "1.01"),
        "lineItems[3] of 1.01 has no productId, which ITEM_PER_PRODUCT needs",
        "set marketplaceDefaultDimension",
    );
    check(amount(), "product:A: ", "too large");
    check(
        Culprit::Configuration("accountIds: bad".to_owned()),
        "the configuration cannot be used",
        "accountIds: bad",
    );
    check(
        Culprit::Account {
            account: samples::account(),
            reason: "m3ter says 404".to_owned(),
        },
        "accountFilter needs account account",
        "m3ter says 404",
    );
    check(
        Culprit::OwnedByConfiguration {
            owner: samples::configuration(),
        },
        "belongs to configuration configuration",
        "Take the account out of one of them",
    );
    check(
        Culprit::OwnedByOrganization {
            key: Box::new(samples::key("users")),
            owner: samples::organization(),
        },
        "dimension users of buyer 111122223333 is metered by organization org",
        "cannot be told apart",
    );
    check(
        Culprit::SharedLicense {
            dimension: "users".to_owned(),
            products: Box::new(["prod", "rest"].map(str::to_owned)),
            sources: Box::new(["A", "B"].map(Source::product)),
            account: entity("Account", "a"),
        },
        "products prod and rest would both be metered on dimension users",
        "an account of its own",
    );
    check(
        held(101),
        "product:A has 101 units at AWS under dimension prod-users, which AWS does not take back, and would now go to prod-seats",
        "replay the run with remap",
    );
}

#[test]
fn lines_are_named_one_by_one_up_to_five() {
    let check = |lines: usize, expect: &str| {
        let text = homeless(0..lines, "1.01").to_string();
        assert!(text.starts_with(expect), "{lines}: {text}");
    };
    check(1, "lineItems[0] of 1.01 has no productId, which");
    check(
        2,
        "lineItems[0], lineItems[1] of 1.01 together have no productId, which",
    );
    check(
        5,
        "lineItems[0], lineItems[1], lineItems[2], lineItems[3], lineItems[4] of 1.01 together have no productId, which",
    );
    check(
        6,
        "lineItems[0], lineItems[1], lineItems[2], lineItems[3], lineItems[4] and 1 more of 1.01 together have no productId, which",
    );
    check(
        12,
        "lineItems[0], lineItems[1], lineItems[2], lineItems[3], lineItems[4] and 7 more of 1.01 together have no productId, which",
    );
}

#[test]
fn twenty_culprits_are_named_and_the_rest_counted() {
    let check = |count: usize, named: usize, end: &str| {
        let culprits: Vec<Culprit> = (0..count)
            .map(|index| missing("Product", &format!("P{index}")))
            .collect();
        let text = invalid(&culprits).to_string();
        let expect: Vec<String> = culprits.iter().take(named).map(Culprit::to_string).collect();
        assert_eq!(text, format!("{}{end}", expect.join("; ")), "{count}");
    };
    check(1, 1, "");
    check(2, 2, "");
    check(20, 20, "");
    check(21, 20, "; and 1 more of the same kind");
    check(33, 20, "; and 13 more of the same kind");
}

#[test]
fn an_invalid_bill_knows_all_its_culprits() {
    assert_eq!(Invalid::of(Vec::new()), None);
    let both = [currency(), amount()];
    assert_eq!(invalid(&both).culprits(), both);
    assert_eq!(Invalid::one(currency()), invalid(&[currency()]));
}

#[test]
fn what_lets_a_bill_pass_is_told_apart() {
    let check =
        |culprits: &[Culprit], waits_for: &[EntityReference], held: &[Source], unreadable: bool, buyer: bool| {
            let invalid = invalid(culprits);
            let waiting: Vec<EntityReference> = invalid.waits_for().cloned().collect();
            let holding: Vec<Source> = invalid.held().cloned().collect();
            assert_eq!((waiting.as_slice(), holding.as_slice()), (waits_for, held), "{invalid}");
            assert_eq!(
                (invalid.is_unreadable(), invalid.lacks_account_mapping()),
                (unreadable, buyer),
                "{invalid}"
            );
        };
    let account = entity("Account", "a");
    let product = entity("Product", "P");
    check(
        &[missing("Account", "a")],
        std::slice::from_ref(&account),
        &[],
        false,
        true,
    );
    check(
        &[missing("Product", "P")],
        std::slice::from_ref(&product),
        &[],
        false,
        false,
    );
    check(&[bad_mapping()], std::slice::from_ref(&product), &[], false, false);
    check(
        &[currency(), missing("Account", "a"), bad_mapping()],
        &[account, product],
        &[],
        false,
        true,
    );
    check(&[unreadable()], &[], &[], true, false);
    check(&[amount(), held(101)], &[], &[Source::product("A")], false, false);
    check(&[currency(), homeless(0..1, "1.01")], &[], &[], false, false);
}

#[test]
fn a_cause_stays_the_same_while_the_same_is_wrong() {
    let check = |culprits: &[Culprit], expect: &str| assert_eq!(invalid(culprits).cause(), expect);
    check(&[homeless(0..1, "1.01")], "no productId and no default dimension");
    check(&[homeless(0..3, "1.07")], "no productId and no default dimension");
    check(&[held(101)], "product:A is held from prod-seats");
    check(&[held(103)], "product:A is held from prod-seats");
    check(&[amount()], "the amount of product:A");
    check(&[missing("Account", "a")], &missing("Account", "a").to_string());
    check(
        &[currency(), amount()],
        &format!("{}; the amount of product:A", currency()),
    );
}
