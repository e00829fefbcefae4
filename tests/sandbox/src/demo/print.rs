//! What the demo prints.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use marketplace::reckoning::{Key, Reckoning};
use serde_json::Value;

use crate::laws::{Law, Ledger};
use crate::requests::Counts;

pub(super) fn title() {
    println!(
        "\nThe demo: two m3ter bills on their way to AWS Marketplace, on a clock of its own. One unit is one cent.\n"
    );
}

pub(super) fn step(step: usize, steps: usize, now: Timestamp, text: &str) {
    println!("[{step:>2}/{steps}] {}  {text}", now.strftime("%H:%M"));
}

pub(super) fn result(text: &str) {
    println!("              → {text}");
}

/// A page for people, set off from the steps.
pub(super) fn page(text: &str) {
    println!();
    text.lines().for_each(|line| println!("    | {line}"));
    println!();
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The usage report, for people and as m3ter's JSON.
pub(super) fn report(report: &Value) {
    println!("\nUsage report (what AWS accepted, by bill, dimension and hour)\n");
    let mut rows = table(&["bill", "dimension", "hour", "units"]);
    for bill in report["data"].as_array().into_iter().flatten() {
        for (dimension, hours) in bill["reportedUsage"].as_object().into_iter().flatten() {
            for (hour, units) in hours.as_object().into_iter().flatten() {
                let id = bill["billId"].as_str().unwrap_or_default();
                rows.add_row([id, dimension, hour, &units.to_string()]);
            }
        }
    }
    right(&mut rows, 3..4);
    println!("{rows}\n\nGET …/integrationdestinations/marketplace/usageReport\n");
    println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
}

/// What each buyer is billed beside what the bills owe. True if it is as it has to be.
pub(super) fn billed(reckoning: &Reckoning, ledger: &Ledger) -> bool {
    println!("\nWhat each buyer is billed, and what the bills owe (reckoned without Outbill)\n");
    let mut rows = table(&[
        "buyer",
        "dimension",
        "bills owe",
        "most ever owed",
        "ledger's total",
        "AWS bills",
        "carry",
        "",
    ]);
    let owed = reckoning.owed();
    let mut fits = true;
    let mut billed: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
    for key in ledger.keys.values() {
        let product_code = &key.state.origin.connection.product_code;
        let name = Key {
            buyer: key.state.key.buyer.customer().to_owned(),
            dimension: format!("{product_code}-{}", key.state.key.dimension),
        };
        let sum = billed.entry(name).or_default();
        sum.0 += key.state.total;
        sum.1 += key.billed;
    }
    for (key, highest) in reckoning.highest() {
        let owes = owed.get(key).copied().unwrap_or_default();
        let (total, billed) = billed.remove(key).unwrap_or_default();
        let right = total == owes && billed == *highest;
        fits &= right;
        let carry = (billed - owes).max(0);
        let verdict = if right { "as it should be" } else { "WRONG" };
        let cells = [owes, *highest, total, billed, carry].map(|units| units.to_string());
        rows.add_row(
            [
                vec![key.buyer.clone(), key.dimension.clone()],
                cells.to_vec(),
                vec![verdict.to_owned()],
            ]
            .concat(),
        );
    }
    for (key, (total, units)) in billed.into_iter().filter(|(_, sums)| *sums != (0, 0)) {
        fits = false;
        let cells = [0, 0, total, units, units].map(|units| units.to_string());
        rows.add_row(
            [
                vec![key.buyer, key.dimension],
                cells.to_vec(),
                vec!["WRONG: no bill owes it".to_owned()],
            ]
            .concat(),
        );
    }
    right(&mut rows, 2..7);
    println!("{rows}");
    fits
}

/// The laws. True if all held.
pub(super) fn laws(laws: &[Law]) -> bool {
    println!("\nThe laws\n");
    for law in laws {
        println!(
            "  {} {}",
            if law.violations.is_empty() { "held  " } else { "BROKEN" },
            law.text
        );
        for violation in &law.violations {
            println!("           {violation}");
        }
    }
    laws.iter().all(|law| law.violations.is_empty())
}

/// What the demo asked of AWS.
pub(super) fn requests(counts: &Counts) {
    println!("\nRequests\n");
    let mut rows = table(&["service", "action", "count"]);
    for (service, actions) in counts {
        for (action, count) in actions {
            rows.add_row([service.clone(), action.clone(), count.to_string()]);
        }
    }
    right(&mut rows, 2..3);
    println!("{rows}");
}
