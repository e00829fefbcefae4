//! Both passes beside each other.

use comfy_table::{CellAlignment, Table, presets};

use super::Pass;
use super::plan::Plan;

/// Lines of what is wrong that are shown; the number of all of them is shown too.
const WRONG_SHOWN_MAX: usize = 10;

pub(super) fn passes(plan: &Plan, part: f64, calm: &Pass, rough: &Pass) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "",
        "without faults",
        &format!("{} % of requests fail", part * 100.0),
    ]);
    let mut row = |name: &str, figure: &dyn Fn(&Pass) -> String| {
        table.add_row([name.to_owned(), figure(calm), figure(rough)]);
    };
    let bills = f64::from(plan.bills + plan.recalculated);
    let count =
        |pass: &Pass, service: &str| -> u64 { pass.requests.get(service).map_or(0, |actions| actions.values().sum()) };
    row("bills not metered exactly, laws broken", &|pass| {
        pass.wrong.len().to_string()
    });
    row("dead letters", &|pass| pass.dead_letters.to_string());
    row("requests that met a fault", &|pass| pass.faults.to_string());
    row("usage records at AWS", &|pass| pass.records.to_string());
    row("BatchMeterUsage calls", &|pass| count(pass, "metering").to_string());
    row("DynamoDB requests per bill", &|pass| {
        format!("{:.1}", count(pass, "dynamodb") as f64 / bills)
    });
    row("seconds", &|pass| format!("{:.1}", pass.took.as_secs_f64()));
    row("bills per second", &|pass| {
        format!("{:.0}", bills / pass.took.as_secs_f64())
    });
    row("usage records per second", &|pass| {
        format!("{:.0}", pass.records as f64 / pass.took.as_secs_f64())
    });
    row("most resident memory, stand-ins included, MB", &|pass| {
        pass.memory_bytes.map_or("not told by this system".to_owned(), |bytes| {
            format!("{:.0}", bytes as f64 / 1e6)
        })
    });
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}");
    for line in [calm, rough]
        .iter()
        .flat_map(|pass| pass.wrong.iter().take(WRONG_SHOWN_MAX))
    {
        println!("WRONG: {line}");
    }
}
