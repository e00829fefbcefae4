//! Versions, moves, cut-overs and deletions of a bill.

use super::*;
use crate::values::bill::BillStatus;
use crate::values::ids::{BillId, OrganizationId};
use crate::values::usage_key::{Buyer, Customer, UsageKey};

fn key(dimension: &str) -> UsageKey {
    let buyer = Buyer::Product {
        product_code: "p".into(),
        customer: Customer::AwsAccountId("111122223333".into()),
    };
    UsageKey {
        region: "us-east-1".into(),
        buyer,
        dimension: dimension.into(),
    }
}

fn bill(version: i64) -> Bill {
    Bill {
        reference: BillReference {
            organization: OrganizationId::new("o").unwrap(),
            bill: BillId::new("b").unwrap(),
        },
        account: AccountId::new("a").unwrap(),
        head: Head::Version(version),
        status: BillStatus::Pending,
        currency: "USD".into(),
        start_date: None,
        ends_at: None,
        line_items: Vec::new(),
    }
}

struct Case {
    known: Option<Manifest>,
    attributed: BTreeMap<KeyHash, Units>,
}

impl Case {
    fn new() -> Case {
        Case {
            known: None,
            attributed: BTreeMap::new(),
        }
    }

    fn step(
        &mut self,
        version: i64,
        split: SplitKind,
        price: &str,
        sources: &[(Source, &str, &str)],
        mode: Mode,
    ) -> Result<Advance, String> {
        let targets: BTreeMap<Source, Target> = sources
            .iter()
            .map(|(source, dimension, money)| {
                (
                    source.clone(),
                    Target {
                        key: key(dimension),
                        product_code: "p".into(),
                        money: money.parse().unwrap(),
                    },
                )
            })
            .collect();
        let owner = ConfigurationId::new("c").unwrap();
        let bill = bill(version);
        let incoming = Incoming {
            bill: &bill,
            owner: &owner,
            split,
            unit_price: price.parse().unwrap(),
            targets: &targets,
        };
        let advance = advance(
            self.known.as_ref(),
            incoming,
            &self.attributed,
            mode,
            Timestamp::UNIX_EPOCH,
        )
        .map_err(|error| error.to_string())?;
        if let Advance::Changed { manifest, .. } = &advance {
            self.known = Some((**manifest).clone());
        }
        Ok(advance)
    }

    /// Everything owed is now at AWS.
    fn meter(&mut self) {
        self.attributed = self.known.as_ref().unwrap().units_by_key().unwrap();
    }

    fn deducted(&self, source: &Source) -> String {
        self.known.as_ref().unwrap().sources[source]
            .deducted
            .normalize()
            .to_string()
    }

    fn units(&self, dimension: &str) -> Units {
        self.known
            .as_ref()
            .unwrap()
            .units_by_key()
            .unwrap()
            .get(&key(dimension).hash())
            .copied()
            .unwrap_or_default()
    }
}

const PRODUCT: SplitKind = SplitKind::ItemPerProduct;

fn product(id: &str) -> Source {
    Source::product(id)
}

#[test]
fn a_vanished_source_owes_nothing_and_a_stale_version_is_ignored() {
    let mut case = Case::new();
    case.step(
        2,
        PRODUCT,
        "0.01",
        &[(product("A"), "x", "1.01"), (product("B"), "y", "1.03")],
        Mode::Ordinary,
    )
    .unwrap();
    assert_eq!((case.units("x"), case.units("y")), (101, 103));
    case.meter();
    case.step(3, PRODUCT, "0.01", &[(product("A"), "x", "1.07")], Mode::Ordinary)
        .unwrap();
    assert_eq!((case.units("x"), case.units("y")), (107, 0));
    let known = case.known.clone();
    assert_eq!(
        standing(known.as_ref(), Head::Version(2)),
        Standing::Older(Head::Version(3))
    );
    assert_eq!(standing(known.as_ref(), Head::Version(3)), Standing::Equal);
    assert_eq!(
        standing(known.as_ref(), Head::LastModified(Timestamp::UNIX_EPOCH)),
        Standing::Incomparable(Head::Version(3))
    );
}

#[test]
fn a_source_with_units_at_aws_is_held_until_a_cut_over() {
    let mut case = Case::new();
    case.step(1, PRODUCT, "0.01", &[(product("A"), "x", "1.01")], Mode::Ordinary)
        .unwrap();
    case.meter();
    let moved = [(product("A"), "z", "1.31")];
    let error = case.step(2, PRODUCT, "0.01", &moved, Mode::Ordinary).unwrap_err();
    assert!(
        error.contains("product:A has 101 units at AWS under dimension p-x"),
        "{error}"
    );
    assert!(error.contains("p-z"), "{error}");
    case.step(2, PRODUCT, "0.01", &moved, Mode::Apply).unwrap_err();
    case.step(2, PRODUCT, "0.01", &moved, Mode::Remap).unwrap();
    assert_eq!((case.units("x"), case.units("z")), (101, 30));
    case.step(3, PRODUCT, "0.01", &[(product("A"), "z", "0.97")], Mode::Ordinary)
        .unwrap();
    assert_eq!((case.units("x"), case.units("z")), (101, -4));
}

#[test]
fn a_source_without_units_at_aws_moves_freely() {
    let mut case = Case::new();
    case.step(
        1,
        PRODUCT,
        "0.01",
        &[(product("A"), "x", "1.01"), (product("B"), "x", "0.50")],
        Mode::Ordinary,
    )
    .unwrap();
    case.attributed = BTreeMap::from([(key("x").hash(), 50)]);
    let Advance::Changed { left, .. } = case
        .step(
            2,
            PRODUCT,
            "0.01",
            &[(product("A"), "z", "1.01"), (product("B"), "x", "0.50")],
            Mode::Ordinary,
        )
        .unwrap()
    else {
        panic!("the version is newer")
    };
    assert_eq!(left, BTreeSet::from([key("x").hash()]));
    assert_eq!((case.units("x"), case.units("z")), (50, 101));
    assert!(case.known.unwrap().fixed.is_empty(), "nothing is left behind");
}

#[test]
fn another_split_or_unit_price_is_held_and_cut_over_without_a_cent_lost() {
    let mut case = Case::new();
    case.step(
        1,
        PRODUCT,
        "0.01",
        &[(product("A"), "x", "1.01"), (product("B"), "y", "1.03")],
        Mode::Ordinary,
    )
    .unwrap();
    case.meter();
    let whole = [(Source::bill(), "w", "2.10")];
    case.step(2, SplitKind::ItemPerBill, "0.01", &whole, Mode::Ordinary)
        .unwrap_err();
    case.step(2, SplitKind::ItemPerBill, "0.01", &whole, Mode::Remap)
        .unwrap();
    assert_eq!((case.units("x"), case.units("y"), case.units("w")), (101, 103, 6));

    let mut case = Case::new();
    case.step(1, PRODUCT, "0.01", &[(product("A"), "x", "1.01")], Mode::Ordinary)
        .unwrap();
    case.meter();
    let error = case
        .step(2, PRODUCT, "0.10", &[(product("A"), "x", "2.01")], Mode::Ordinary)
        .unwrap_err();
    assert!(error.contains("the same at a unit price of 0.10"), "{error}");
    case.step(2, PRODUCT, "0.10", &[(product("A"), "x", "2.01")], Mode::Remap)
        .unwrap();
    assert_eq!(case.units("x"), 101 + 10);
}

#[test]
fn what_aws_has_above_all_that_leaves_goes_with_the_last() {
    // The bill fell after it was metered: AWS has 200, the two sources owe 150.
    let both = [(product("A"), "x", "1.00"), (product("B"), "x", "0.50")];
    let mut case = Case::new();
    case.step(1, PRODUCT, "0.01", &both, Mode::Ordinary).unwrap();
    case.attributed = BTreeMap::from([(key("x").hash(), 200)]);
    let moved = [(product("A"), "y", "1.03"), (product("B"), "z", "0.53")];
    case.step(2, PRODUCT, "0.01", &moved, Mode::Remap).unwrap();
    assert_eq!(
        (case.deducted(&product("A")), case.deducted(&product("B"))),
        ("1".into(), "1".into())
    );
    assert_eq!((case.units("x"), case.units("y"), case.units("z")), (200, 3, -47));

    // Another split: the money that stays behind is taken from the new sources in turn.
    let mut case = Case::new();
    case.step(1, PRODUCT, "0.01", &[(product("A"), "x", "2.00")], Mode::Ordinary)
        .unwrap();
    case.meter();
    let split = [
        (Source::aggregation("a"), "u", "0.50"),
        (Source::aggregation("b"), "v", "0.70"),
        (Source::aggregation("c"), "w", "0.30"),
    ];
    case.step(2, SplitKind::ItemPerAggregation, "0.01", &split, Mode::Remap)
        .unwrap();
    assert_eq!(
        [&split[0].0, &split[1].0, &split[2].0].map(|source| case.deducted(source)),
        ["0.5", "0.7", "0.8"]
    );
    assert_eq!(
        (case.units("x"), case.units("u"), case.units("v"), case.units("w")),
        (200, 0, 0, -50)
    );
}

#[test]
fn an_equal_version_changes_nothing_unless_it_is_replayed() {
    let mut case = Case::new();
    let first = [(product("A"), "x", "1.01")];
    case.step(1, PRODUCT, "0.01", &first, Mode::Ordinary).unwrap();
    assert_eq!(
        case.step(1, PRODUCT, "0.01", &first, Mode::Ordinary),
        Ok(Advance::Unchanged)
    );
    let other = [(product("A"), "x", "1.03")];
    assert_eq!(
        case.step(1, PRODUCT, "0.01", &other, Mode::Ordinary),
        Ok(Advance::EqualButOther)
    );
    case.step(1, PRODUCT, "0.01", &other, Mode::Apply).unwrap();
    assert_eq!(case.units("x"), 103);
    case.meter();
    assert_eq!(
        case.step(1, PRODUCT, "0.01", &[(product("A"), "z", "1.03")], Mode::Ordinary),
        Ok(Advance::EqualButOther)
    );
}

#[test]
fn a_deletion_takes_every_key_to_nothing_and_leaves_a_tombstone() {
    let mut case = Case::new();
    case.step(4, PRODUCT, "0.01", &[(product("A"), "x", "1.01")], Mode::Ordinary)
        .unwrap();
    case.meter();
    case.step(5, PRODUCT, "0.01", &[(product("A"), "z", "1.31")], Mode::Remap)
        .unwrap();
    let reference = bill(1).reference;
    let Advance::Changed { manifest, .. } = delete(
        case.known.as_ref(),
        &reference,
        Head::Version(4),
        None,
        Timestamp::UNIX_EPOCH,
    ) else {
        panic!("the bill was not deleted yet")
    };
    let known = case.known.clone().unwrap();
    let tombstone = Manifest {
        head: Head::Version(4),
        deleted: true,
        sources: BTreeMap::new(),
        fixed: Vec::new(),
        revision: known.revision + 1,
        ..known
    };
    assert_eq!(*manifest, tombstone);
    assert_eq!(
        manifest.units_by_key().unwrap(),
        BTreeMap::from([(key("x").hash(), 0), (key("z").hash(), 0)])
    );
    assert_eq!(standing(Some(&manifest), Head::Version(9)), Standing::Deleted);
    assert_eq!(
        delete(
            Some(&manifest),
            &reference,
            Head::Version(5),
            None,
            Timestamp::UNIX_EPOCH
        ),
        Advance::Unchanged
    );
    assert!(matches!(
        delete(None, &reference, Head::Version(1), None, Timestamp::UNIX_EPOCH),
        Advance::Changed { .. }
    ));
}

#[test]
fn heads_of_one_kind_are_ordered_and_of_two_kinds_are_not() {
    let at = |second: i64| Head::LastModified(Timestamp::from_second(second).unwrap());
    let known = |head: Head| {
        let Advance::Changed { manifest, .. } = delete(None, &bill(1).reference, head, None, Timestamp::UNIX_EPOCH)
        else {
            panic!("nothing was known of the bill")
        };
        Manifest {
            deleted: false,
            ..*manifest
        }
    };
    let check = |known: Option<&Manifest>, incoming: Head, expect: Standing| {
        assert_eq!(standing(known, incoming), expect, "{incoming}");
    };
    check(None, Head::Version(0), Standing::First);
    let seven = known(Head::Version(7));
    check(Some(&seven), Head::Version(6), Standing::Older(Head::Version(7)));
    check(Some(&seven), Head::Version(7), Standing::Equal);
    check(Some(&seven), Head::Version(8), Standing::Newer);
    check(Some(&seven), at(8), Standing::Incomparable(Head::Version(7)));
    let instant = known(at(7));
    check(Some(&instant), at(6), Standing::Older(at(7)));
    check(Some(&instant), at(7), Standing::Equal);
    check(Some(&instant), at(8), Standing::Newer);
    check(Some(&instant), Head::Version(8), Standing::Incomparable(at(7)));
    let deleted = Manifest { deleted: true, ..seven };
    check(Some(&deleted), Head::Version(8), Standing::Deleted);
    check(Some(&deleted), at(8), Standing::Deleted);
}

#[test]
fn a_replay_applies_the_mappings_or_cuts_over() {
    assert_eq!(Mode::from(ReplayMode::Apply), Mode::Apply);
    assert_eq!(Mode::from(ReplayMode::Remap), Mode::Remap);
}

#[test]
fn a_manifest_has_the_newest_versions_facts_and_remembers_when_it_began() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let version = |version: i64| Bill {
        start_date: Some(format!("2025-06-0{version}")),
        ends_at: Some(at(version)),
        ..bill(version)
    };
    let targets = |dimension: &str, money: &str| {
        let target = Target {
            key: key(dimension),
            product_code: "p".into(),
            money: money.parse().unwrap(),
        };
        BTreeMap::from([(product("A"), target)])
    };
    let step = |known: Option<&Manifest>, bill: &Bill, owner: &str, targets: &BTreeMap<Source, Target>, now: i64| {
        let incoming = Incoming {
            bill,
            owner: &ConfigurationId::new(owner).unwrap(),
            split: PRODUCT,
            unit_price: "0.01".parse().unwrap(),
            targets,
        };
        match advance(known, incoming, &BTreeMap::new(), Mode::Ordinary, at(now)) {
            Ok(Advance::Changed { manifest, .. }) => *manifest,
            other => panic!("the version is newer: {other:?}"),
        }
    };
    let expect =
        |bill: &Bill, owner: &str, dimension: &str, units: Units, dimensions: &[&str], revision: i64| Manifest {
            bill: bill.reference.clone(),
            head: bill.head,
            deleted: false,
            owner: Some(ConfigurationId::new(owner).unwrap()),
            account: Some(bill.account.clone()),
            start_date: bill.start_date.clone(),
            ends_at: bill.ends_at,
            split: PRODUCT,
            sources: BTreeMap::from([(
                product("A"),
                Placement {
                    key: key(dimension).hash(),
                    unit_price: "0.01".parse().unwrap(),
                    units,
                    deducted: Decimal::ZERO,
                },
            )]),
            fixed: Vec::new(),
            keys: dimensions
                .iter()
                .map(|dimension| {
                    let key = key(dimension);
                    let product_code = "p".into();
                    (key.hash(), TouchedKey { key, product_code })
                })
                .collect(),
            revision,
            first_seen: at(101),
        };
    let first = step(None, &version(1), "c", &targets("x", "1.01"), 101);
    assert_eq!(first, expect(&version(1), "c", "x", 101, &["x"], 1));
    let second = step(Some(&first), &version(2), "d", &targets("z", "1.03"), 103);
    assert_eq!(second, expect(&version(2), "d", "z", 103, &["x", "z"], 2));
}

#[test]
fn a_bill_that_was_deleted_before_it_was_known_leaves_a_tombstone() {
    let account = AccountId::new("a").unwrap();
    let reference = bill(1).reference;
    let now = Timestamp::from_second(101).unwrap();
    let tombstone = Manifest {
        bill: reference.clone(),
        head: Head::Version(3),
        deleted: true,
        owner: None,
        account: Some(account.clone()),
        start_date: None,
        ends_at: None,
        split: SplitKind::ItemPerBill,
        sources: BTreeMap::new(),
        fixed: Vec::new(),
        keys: BTreeMap::new(),
        revision: 1,
        first_seen: now,
    };
    assert_eq!(
        delete(None, &reference, Head::Version(3), Some(&account), now),
        Advance::Changed {
            manifest: Box::new(tombstone),
            left: BTreeSet::new(),
        }
    );
}

#[test]
fn an_amount_that_cannot_be_counted_names_its_source() {
    let largest = Decimal::MAX.to_string();
    let error = Case::new()
        .step(1, PRODUCT, "0.01", &[(product("A"), "x", &largest)], Mode::Ordinary)
        .unwrap_err();
    assert!(error.starts_with("product:A: the amount is too large"), "{error}");
    let free = Case::new()
        .step(1, PRODUCT, "0", &[(product("A"), "x", "1.01")], Mode::Ordinary)
        .unwrap_err();
    assert!(free.starts_with("product:A: the unit price 0"), "{free}");
}
