//! Figures as a table for people and as JSON for programs.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// One figure with what it was asked to be.
#[derive(Debug)]
pub struct Figure {
    pub name: Cow<'static, str>,
    pub value: f64,
    pub unit: &'static str,
    /// Decimal places that mean something.
    pub places: usize,
    /// Of what the value is made: how many, and how far they spread.
    pub of: String,
    pub goal: Option<Goal>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn told(self, value: f64) -> String {
        let (text, is_met) = match self {
            Goal::AtLeast(goal) => (format!("at least {goal}"), value >= goal),
            Goal::AtMost(goal) => (format!("at most {goal}"), value <= goal),
        };
        match is_met {
            true => format!("{text}: met"),
            false => format!("{text}: MISSED"),
        }
    }
}

/// Prints the table.
pub fn print(figures: &[Figure]) {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["figure", "value", "unit", "of", "goal"]);
    for figure in figures {
        table.add_row([
            figure.name.to_string(),
            format!("{:.*}", figure.places, figure.value),
            figure.unit.to_owned(),
            figure.of.clone(),
            figure.goal.map_or("-".to_owned(), |goal| goal.told(figure.value)),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

/// Writes the same for programs, if a file is given.
pub fn keep(figures: &[Figure], file: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    std::fs::write(file, json(figures).to_string())
        .with_context(|| format!("--json: {} cannot be written", file.display()))
}

fn json(figures: &[Figure]) -> Value {
    let one =
        |figure: &Figure| json!({ "name": figure.name, "value": figure.value, "unit": figure.unit, "of": figure.of });
    figures.iter().map(one).collect()
}

/// What so many hundredths of the times do not exceed, in milliseconds.
pub fn within(times: &mut [Duration], hundredths: usize) -> f64 {
    times.sort();
    let place = times.len().saturating_sub(1) * hundredths / 100;
    times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Half and ninety-nine of a hundred took at most so long.
pub fn spread(times: &mut [Duration]) -> String {
    let (half, most) = (within(times, 50), within(times, 99));
    format!("{}; half within {half:.1} ms, 99 % within {most:.1} ms", times.len())
}

/// Linux's kB as megabytes.
pub fn megabytes(kb: u64) -> f64 {
    f64::from(u32::try_from(kb).unwrap_or(u32::MAX)) / 1024.0
}
