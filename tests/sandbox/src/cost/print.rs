//! The sheet and the requests behind it, for people.

use comfy_table::{CellAlignment, Table, presets};
use rust_decimal::Decimal;
use std::ops::Range;

use super::day::Counted;
use super::prices::Read;
use super::sheet::Sheet;

fn table(header: &[&str], numbers: Range<usize>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Four digits that say something, and no exponent.
fn number(value: Decimal) -> String {
    let rounded = match value.abs() >= Decimal::ONE_HUNDRED {
        true => value.round(),
        false => value.round_sf(4).unwrap_or(value),
    };
    rounded.normalize().to_string()
}

pub(super) fn sheet(sheet: &Sheet) {
    let header = [
        "service",
        "what",
        "by 1,000 bills and day",
        "in a day without bills",
        "in a month besides",
        "US$ each",
        "US$ by 1,000 bills and day",
        "US$ a month",
    ];
    let rows = sheet.lines.iter().map(|line| {
        let mark = if line.price.read == Read::Elsewhere { " *" } else { "" };
        vec![
            line.service.to_owned(),
            line.what.to_owned(),
            number(line.per_thousand),
            number(line.per_day),
            number(line.per_month),
            format!("{}{mark}", line.price.usd.normalize()),
            line.usd_per_thousand.round_dp(5).to_string(),
            line.usd_per_month.round_dp(2).to_string(),
        ]
    });
    let sums = vec![
        "all".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        sheet.usd_per_thousand.round_dp(5).to_string(),
        sheet.usd_per_month.round_dp(2).to_string(),
    ];
    println!("{}", table(&header, 2..8, rows.chain([sums])));
    println!(
        "\nA month is 30 days with {} bills open; {} US$ of it are paid without any bill. * not confirmed on AWS's page.",
        sheet.bills_per_month,
        sheet.usd_per_month_idle.round_dp(2)
    );
}

pub(super) fn requests(busy: &Counted, idle: &Counted) {
    let header = [
        "DynamoDB",
        "requests",
        "refused conditions",
        "read units",
        "write units",
        "requests without bills",
    ];
    let rows = busy.dynamodb.iter().map(|(action, consumed)| {
        let idle = idle.dynamodb.get(action).map_or(0, |consumed| consumed.requests);
        vec![
            action.clone(),
            consumed.requests.to_string(),
            consumed.refused.to_string(),
            number(consumed.read_units),
            number(consumed.write_units),
            idle.to_string(),
        ]
    });
    println!("\n{}", table(&header, 1..6, rows));
    let functions = [
        ("bill-dispatch", busy.invoked.bill_dispatch, idle.invoked.bill_dispatch),
        ("api", busy.invoked.api, idle.invoked.api),
        ("reconcile", busy.invoked.reconcile, idle.invoked.reconcile),
    ];
    let rows = functions.into_iter().map(|(name, busy, idle)| {
        let each = busy.milliseconds.checked_div(busy.count).unwrap_or_default();
        let numbers = [busy.count, busy.milliseconds, each, idle.count, idle.milliseconds];
        [vec![name.to_owned()], numbers.map(|number| number.to_string()).to_vec()].concat()
    });
    let header = [
        "function",
        "invocations",
        "ms in all",
        "ms each",
        "invocations without bills",
        "ms without bills",
    ];
    println!("\n{}", table(&header, 1..6, rows));
    println!(
        "\n{} messages in batches, {} usage records, {} log lines of {} bytes and {} lines of metrics of {} bytes.",
        busy.invoked.messages, busy.records, busy.log.lines, busy.log.bytes, busy.metrics.lines, busy.metrics.bytes
    );
}
