//! The numbers of an explanation add up, and its words say the same.

use serde_json::json;

use super::*;
use crate::values::entry::{ByHand, KeyState, Part, Resolution, Verdict};
use crate::values::ids::{BillId, OrganizationId};
use crate::values::line_item_type::LineItemType;
use crate::values::samples::{self, decimal, key, reference};

fn line(product: &str, kind: LineItemType, money: &str) -> LineItem {
    LineItem {
        product: Some(product.to_owned()),
        kind,
        ..samples::usage_line(money)
    }
}

/// Product A has 1.01 and 1.07, product B has 1.03; a credit and a zero count for nothing.
fn version() -> VersionLines {
    let marketplace = samples::marketplace(&[("excludedLineItemTypes", json!(["CREDIT_DEDUCTION"]))]);
    let lines = vec![
        line("A", LineItemType::Usage, "1.01"),
        line("A", LineItemType::CreditDeduction, "-0.07"),
        line("B", LineItemType::Usage, "1.03"),
        line("B", LineItemType::Usage, "0"),
        line("A", LineItemType::StandingCharge, "1.07"),
    ];
    VersionLines::of(samples::bill(lines), &marketplace)
}

fn placement(dimension: &str, units: Units, deducted: &str) -> Placement {
    Placement {
        key: key(dimension).hash(),
        unit_price: decimal("0.01"),
        units,
        deducted: decimal(deducted),
    }
}

fn fixed(dimension: &str, units: Units) -> Fixed {
    Fixed {
        key: key(dimension).hash(),
        unit_price: decimal("0.05"),
        units,
    }
}

/// Products on dimensions with their units, and what cut-overs left.
fn manifest(sources: &[(&str, &str, Units)], left: &[Fixed]) -> Manifest {
    let mut manifest = samples::manifest(&["users", "seats"]);
    manifest.sources = sources
        .iter()
        .map(|(source, dimension, units)| (Source::product(source), placement(dimension, *units, "0")))
        .collect();
    manifest.fixed = left.to_vec();
    manifest
}

/// Dimension `users` with what bills owe there, its entries, and what is open of bill A. All that is owed is the key's total.
fn history(bills: &[(BillReference, Units)], entries: Vec<Entry>, open: Units) -> KeyHistory {
    let mut state = KeyState::new(key("users"), samples::origin());
    state.total = bills.iter().map(|(_, units)| units).sum();
    state.committed = entries.iter().map(Entry::committed).sum();
    let residual = Part {
        units: open,
        ends_at: None,
    };
    state.residuals = BTreeMap::from([(reference("A"), residual)]);
    KeyHistory {
        state,
        bills: bills.iter().cloned().collect(),
        entries,
    }
}

fn entry(hour: u8, state: EntryState, parts: &[(&str, Units)]) -> Entry {
    samples::entry(&format!("2025-06-10T{hour:02}"), state, parts)
}

#[test]
fn the_arithmetic_is_written_out() {
    let check = |amounts: &[&str], deducted: &str, price: &str, units: Units, expect: &str| {
        let amounts: Vec<Decimal> = amounts.iter().map(|text| decimal(text)).collect();
        let money = amount::sum(amounts.iter().copied()).unwrap();
        assert_eq!(
            arithmetic(&amounts, money, decimal(deducted), decimal(price), units),
            expect
        );
    };
    check(&["1.01"], "0", "0.01", 101, "1 line of 1.01; 1.01 ÷ 0.01 = 101 units");
    check(
        &["1.01", "-0.07", "2.03"],
        "0",
        "0.01",
        297,
        "3 lines: 1.01 - 0.07 + 2.03 = 2.97; 2.97 ÷ 0.01 = 297 units",
    );
    check(
        &["-0.07", "1.01"],
        "0",
        "0.01",
        94,
        "2 lines: -0.07 + 1.01 = 0.94; 0.94 ÷ 0.01 = 94 units",
    );
    check(
        &["0.005"],
        "0",
        "0.01",
        1,
        "1 line of 0.005; 0.005 ÷ 0.01 = 0.5, rounded half away from zero to 1 units",
    );
    check(
        &["1.03"],
        "0.41",
        "0.01",
        62,
        "1 line of 1.03; less 0.41 that a cut-over left with another dimension: 0.62; 0.62 ÷ 0.01 = 62 units",
    );
    check(
        &[],
        "0",
        "0.01",
        0,
        "no line of this version counts here: 0; 0 ÷ 0.01 = 0 units",
    );
    check(
        &["1.03"],
        "0",
        "0.01",
        101,
        "1 line of 1.03; 1.03 ÷ 0.01 = 103, but the bill's manifest counts 101 units",
    );
    check(
        &["0.005"],
        "0",
        "0.01",
        2,
        "1 line of 0.005; 0.005 ÷ 0.01 = 0.5, but the bill's manifest counts 2 units",
    );
    check(&["1.03"], "0", "0", 103, "1 line of 1.03; counted as 103 units");
    check(
        &["0.01"; 12],
        "0",
        "0.01",
        12,
        "12 lines: 0.01 + 0.01 + 0.01 + 0.01 + 0.01 + 0.01 + 0.01 + 0.01 + 0.01 + 0.01 + 0.01 + 0.01 = 0.12; 0.12 ÷ 0.01 = 12 units",
    );
    check(
        &["0.01"; 13],
        "0",
        "0.01",
        13,
        "13 lines that add up to 0.13; 0.13 ÷ 0.01 = 13 units",
    );
}

#[test]
fn a_version_shows_what_its_lines_come_to_and_which_count_for_nothing() {
    let version = version();
    let amounts: Vec<String> = version.lines().iter().map(|line| line.amount.to_string()).collect();
    assert_eq!(amounts, ["1.01", "-0.07", "1.03", "0", "1.07"]);
    assert_eq!(version.left_out, [1, 3]);
    let share = |source: &str, money: &str, lines: &[usize], units: Units, words: &str| SourceShare {
        source: Source::product(source),
        money: Some(decimal(money)),
        lines: lines.to_vec(),
        deducted: Decimal::ZERO,
        unit_price: decimal("0.01"),
        units,
        words: words.to_owned(),
    };
    assert_eq!(
        version.sources(),
        [
            share(
                "A",
                "2.08",
                &[0, 4],
                208,
                "product:A: 2 lines: 1.01 + 1.07 = 2.08; 2.08 ÷ 0.01 = 208 units"
            ),
            share(
                "B",
                "1.03",
                &[2],
                103,
                "product:B: 1 line of 1.03; 1.03 ÷ 0.01 = 103 units"
            ),
        ]
    );
}

#[test]
fn a_share_is_what_the_manifest_counts_and_the_lines_explain_it_while_they_are_kept() {
    let version = version();
    let check = |source: &str, version: Option<&VersionLines>, money: Option<&str>, lines: &[usize], words: &str| {
        let placed = SourceShare::placed(&Source::product(source), &placement("users", 197, "0.11"), version);
        let expect = SourceShare {
            source: Source::product(source),
            money: money.map(decimal),
            lines: lines.to_vec(),
            deducted: decimal("0.11"),
            unit_price: decimal("0.01"),
            units: 197,
            words: words.to_owned(),
        };
        assert_eq!(placed, expect);
    };
    check(
        "A",
        Some(&version),
        Some("2.08"),
        &[0, 4],
        "product:A: 2 lines: 1.01 + 1.07 = 2.08; less 0.11 that a cut-over left with another dimension: 1.97; 1.97 ÷ 0.01 = 197 units",
    );
    check(
        "C",
        Some(&version),
        Some("0"),
        &[],
        "product:C: no line of this version counts here: 0; less 0.11 that a cut-over left with another dimension: -0.11; \
         -0.11 ÷ 0.01 = -11, but the bill's manifest counts 197 units",
    );
    check(
        "A",
        None,
        None,
        &[],
        "product:A: 197 units by the bill's manifest; the line items are not kept any more, because logs of runs expire after 90 days",
    );
}

#[test]
fn a_key_has_the_shares_and_the_left_units_that_are_its_own() {
    let manifest = manifest(
        &[("A", "users", 101), ("B", "seats", 103), ("C", "users", 107)],
        &[fixed("seats", 13), fixed("users", 17)],
    );
    let check = |dimension: &str, sources: &[(&str, Units)], left: &[Fixed]| {
        let (shares, fixed) = shares(&manifest, &key(dimension).hash(), None);
        let shares: Vec<(String, Units)> = shares
            .into_iter()
            .map(|share| (share.source.as_str().to_owned(), share.units))
            .collect();
        let sources: Vec<(String, Units)> = sources
            .iter()
            .map(|(source, units)| (format!("product:{source}"), *units))
            .collect();
        assert_eq!(
            (shares.as_slice(), fixed.as_slice()),
            (sources.as_slice(), left),
            "{dimension}"
        );
    };
    check("users", &[("A", 101), ("C", 107)], &[fixed("users", 17)]);
    check("seats", &[("B", 103)], &[fixed("seats", 13)]);
    check("disks", &[], &[]);
}

#[test]
fn accepted_unsettled_open_and_corrected_are_what_the_bill_owes() {
    use EntryState::*;
    let every_state = || {
        vec![
            entry(1, Accepted, &[("A", 61), ("B", 2)]),
            entry(2, Pending, &[("A", 7)]),
            entry(3, Unknown, &[("A", 11)]),
            entry(4, Conflict, &[("A", 13)]),
            entry(5, Refused, &[("A", 17)]),
            entry(6, Released, &[("A", 19)]),
            entry(7, Accepted, &[("B", 23)]),
        ]
    };
    let check = |owed: Units, open: Units, entries: Vec<Entry>, expect: [Units; 5]| {
        let manifest = manifest(&[("A", "users", owed)], &[fixed("users", 29)]);
        let history = history(&[(reference("A"), owed)], entries, open);
        let found = explain(&manifest, &key("users").hash(), &history, None);
        assert_eq!(
            [
                found.units,
                found.accepted,
                found.unsettled,
                found.open,
                found.corrected
            ],
            expect
        );
        assert_eq!(found.fixed, [fixed("users", 29)]);
        assert_eq!(found.sources, shares(&manifest, &key("users").hash(), None).0);
    };
    check(101, 101, Vec::new(), [101, 0, 0, 101, 0]);
    check(61, 0, vec![entry(1, Accepted, &[("A", 61)])], [61, 61, 0, 0, 0]);
    check(53, -8, vec![entry(1, Accepted, &[("A", 61)])], [53, 61, 0, -8, 0]);
    check(101, 5, every_state(), [101, 61, 31, 5, 4]);
    check(89, 0, every_state(), [89, 61, 31, 0, -3]);
    let of_others = history(&[(reference("B"), 103)], Vec::new(), 0);
    let found = explain(&manifest(&[], &[]), &key("users").hash(), &of_others, None);
    assert_eq!(
        (found.units, found.words[0].as_str()),
        (0, "nothing of the bill counts here any more: 0 units")
    );
}

#[test]
fn the_words_say_what_is_owed_where_it_is_and_what_the_key_holds() {
    let check = |manifest: &Manifest, history: &KeyHistory, expect: &[&str]| {
        let found = explain(manifest, &key("users").hash(), history, Some(&version()));
        assert_eq!(found.words, expect);
    };
    let a = || "product:A: 2 lines: 1.01 + 1.07 = 2.08; 2.08 ÷ 0.01 = 208 units";
    let one = manifest(&[("A", "users", 208)], &[]);
    check(
        &one,
        &history(&[(reference("A"), 208)], Vec::new(), 208),
        &[
            a(),
            "the bill owes 208 units here",
            "of them: 0 accepted by AWS + 208 not claimed yet = 208",
            "entries hold 0 units; 208 owed - 0 held = 208",
        ],
    );
    let accepted = || entry(1, EntryState::Accepted, &[("A", 208)]);
    check(
        &one,
        &history(&[(reference("A"), 208)], vec![accepted()], 0),
        &[
            a(),
            "the bill owes 208 units here",
            "of them: 208 accepted by AWS = 208",
            "entries hold 208 units; 208 owed - 208 held = 0",
        ],
    );
    let several = manifest(&[("A", "users", 208), ("B", "users", 103)], &[fixed("users", 17)]);
    let stranger = BillReference {
        organization: OrganizationId::new("other").unwrap(),
        bill: BillId::new("X").unwrap(),
    };
    let bills = [(reference("A"), 328), (reference("B"), -7), (stranger, 11)];
    let pending = entry(2, EntryState::Pending, &[("A", 120)]);
    check(
        &several,
        &history(&bills, vec![accepted(), pending], 0),
        &[
            a(),
            "product:B: 1 line of 1.03; 1.03 ÷ 0.01 = 103 units",
            "17 units at 0.05 stayed here when a source was cut over to another dimension",
            "the bill owes 208 + 103 + 17 = 328 units here",
            "of them: 208 accepted by AWS + 120 sent or claimed, not settled = 328",
            "all bills on this dimension of the buyer owe 328 of bill A + -7 of bill B + 11 of bill other#X = 332 units",
            "entries hold 208 + 120 = 328 units; 332 owed - 328 held = 4",
        ],
    );
    let deleted = Manifest {
        deleted: true,
        ..manifest(&[], &[])
    };
    check(
        &deleted,
        &history(&[(reference("A"), 0)], vec![accepted()], -208),
        &[
            "the bill was deleted and owes 0 units",
            "of them: 208 accepted by AWS + (-208) that AWS has too many of it, held against later growth = 0",
            "entries hold 208 units; 0 owed - 208 held = -208",
        ],
    );
    let corrected = Entry {
        observed: Some(211),
        ..accepted()
    };
    check(
        &one,
        &history(&[(reference("A"), 208)], vec![corrected], -3),
        &[
            a(),
            "the bill owes 208 units here",
            "of them: 208 accepted by AWS + (-3) that AWS has too many of it, held against later growth + (3) by what AWS turned out to hold \
             beside what was sent = 208",
            "entries hold 211 units; 208 owed - 211 held = -3",
        ],
    );
}

#[test]
fn the_hours_of_a_key_are_added_up_one_by_one_up_to_twelve() {
    let check = |hours: u8, expect: &str| {
        let mut entries: Vec<Entry> = (0..hours)
            .map(|hour| entry(hour, EntryState::Accepted, &[("A", 2)]))
            .collect();
        entries.push(entry(23, EntryState::Refused, &[("A", 3)]));
        let history = history(&[(reference("A"), 29)], entries, 0);
        assert_eq!(claimed_text(&history), expect, "{hours}");
    };
    check(0, "entries hold 0 units; 29 owed - 0 held = 29");
    check(1, "entries hold 2 units; 29 owed - 2 held = 27");
    check(2, "entries hold 2 + 2 = 4 units; 29 owed - 4 held = 25");
    check(
        12,
        "entries hold 2 + 2 + 2 + 2 + 2 + 2 + 2 + 2 + 2 + 2 + 2 + 2 = 24 units; 29 owed - 24 held = 5",
    );
    check(13, "entries hold 26 units in 13 hours; 29 owed - 26 held = 3");
}

#[test]
fn an_entry_is_told_by_its_fate() {
    let receipt = |receipt: &str, entry: Entry| Entry {
        metering_record_id: Some(receipt.to_owned()),
        ..entry
    };
    let decided = |verdict: Verdict, entry: Entry| Entry {
        resolution: Some(Resolution {
            verdict,
            decided: ByHand {
                by: "key-7".to_owned(),
                at: jiff::Timestamp::UNIX_EPOCH,
                reason: "AWS support says so".to_owned(),
            },
        }),
        ..entry
    };
    let of = |state: EntryState| entry(10, state, &[("A", 7)]);
    let check = |entry: &Entry, version: Option<&str>, expect: &str| {
        assert_eq!(
            entry_words(entry, &reference("A"), version),
            format!("2025-06-10T10: {expect}")
        );
    };
    let all = |fate: &str| format!("7 units, all of this bill; {fate}");
    for (entry, fate) in [
        (
            receipt("receipt-1", of(EntryState::Accepted)),
            "AWS accepted them with receipt receipt-1",
        ),
        (
            decided(Verdict::Accepted, of(EntryState::Accepted)),
            "key-7 decided that AWS has them: AWS support says so",
        ),
        (of(EntryState::Accepted), "AWS accepted them"),
        (of(EntryState::Pending), "they are sent until AWS answers"),
        (
            of(EntryState::Unknown),
            "whether AWS accepted them is not known; they count as sent",
        ),
        (
            of(EntryState::Conflict),
            "AWS holds another quantity for the hour; they count as sent until that is settled",
        ),
        (of(EntryState::Refused), "AWS refused them; they count for nothing"),
        (
            decided(Verdict::Released, of(EntryState::Released)),
            "key-7 decided that AWS does not have them: AWS support says so; they count for nothing",
        ),
        (
            of(EntryState::Released),
            "AWS's window closed before it had them; they count for nothing",
        ),
    ] {
        check(&entry, None, &all(fate));
    }
    check(
        &of(EntryState::Pending),
        Some("version 3"),
        "7 units, all of this bill as of version 3; they are sent until AWS answers",
    );
    let shared = Entry {
        observed: Some(5),
        ..entry(10, EntryState::Accepted, &[("A", 7), ("B", 11)])
    };
    check(
        &shared,
        Some("version 3"),
        "18 units of 2 bills, 7 of this one as of version 3; AWS accepted them; AWS turned out to hold 5, and that is what counts",
    );
    check(
        &entry(10, EntryState::Pending, &[("B", 11), ("C", 13)]),
        None,
        "24 units of 2 bills, 0 of this one; they are sent until AWS answers",
    );
}
