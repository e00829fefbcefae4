//! What people read: tables, numbers, times, and texts of others with nothing in them that a terminal would obey.

use std::ops::Range;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::surroundings::Surroundings;

/// Where there is no terminal whose width counts.
const COLUMNS: u16 = 160;
/// Cells up to here are never broken: ids are there to be copied.
const WHOLE_CHARACTERS_MAX: usize = 50;

/// Where a command's answer goes.
#[derive(Debug)]
pub struct Screen {
    columns: u16,
    has_colours: bool,
}

impl Screen {
    /// The terminal, or the file in its place.
    pub fn of(surroundings: &Surroundings) -> Screen {
        Screen {
            columns: surroundings.columns().unwrap_or(COLUMNS),
            has_colours: surroundings.has_colours(),
        }
    }

    /// A table; the columns in `numbers` are set to the right.
    pub fn table<const N: usize>(&self, header: [&str; N], rows: &[[String; N]], numbers: Range<usize>) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_header(header)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.columns);
        for row in rows {
            table.add_row(row.iter().map(|cell| clean(cell)));
        }
        for (place, column) in table.column_iter_mut().enumerate() {
            let longest = rows
                .iter()
                .filter_map(|row| row.get(place))
                .map(|cell| cell.chars().count())
                .max();
            if longest.is_none_or(|longest| longest <= WHOLE_CHARACTERS_MAX) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        for column in numbers {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    /// A line that matters, in red or green where there are colours.
    pub fn verdict(&self, line: &str, is_well: bool) -> String {
        let style = console::Style::new().bold().force_styling(self.has_colours);
        match is_well {
            true => style.green().apply_to(line).to_string(),
            false => style.red().apply_to(line).to_string(),
        }
    }
}

/// A row of the API's, read for a table.
pub fn read(row: &RawValue) -> Value {
    serde_json::from_str(row.get()).unwrap_or_default()
}

/// Rows as one JSON object, each as the API gave it.
pub fn joined(rows: &[Box<RawValue>]) -> String {
    let rows: Vec<&str> = rows.iter().map(|row| row.get()).collect();
    format!("{{\"data\":[{}]}}", rows.join(","))
}

/// A field as text: what is no text is shown as JSON has it, and what is not there as nothing.
pub fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A whole number; absent: 0.
pub fn whole(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// The rows of a list in a field.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// An instant in a field.
pub fn instant(value: &Value, name: &str) -> Option<Timestamp> {
    value.get(name)?.as_str()?.parse().ok()
}

/// An instant to the second, in UTC.
pub fn time(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The same of a field; what is no instant stays as it is.
pub fn time_in(value: &Value, name: &str) -> String {
    instant(value, name).map_or_else(|| field(value, name), time)
}

/// How far away an instant is.
pub fn distance(to: Timestamp, now: Timestamp) -> String {
    let minutes = to.duration_since(now).as_secs().div_euclid(60);
    let text = |minutes: i64| match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    };
    match minutes < 0 {
        true => format!("{} ago", text(-minutes)),
        false => format!("in {}", text(minutes)),
    }
}

/// A count with its thousands apart.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    match number < 0 {
        true => format!("-{text}"),
        false => text,
    }
}

/// A count and its noun.
pub fn counted(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// An amount with at least two decimals.
pub fn money(amount: Decimal) -> String {
    let amount = amount.normalize();
    match amount.scale() < 2 {
        true => format!("{amount:.2}"),
        false => amount.to_string(),
    }
}

/// Text of others without what a terminal would obey; lines stay lines.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|character| match character.is_control() && character != '\n' {
            true => '\u{fffd}',
            false => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (number, expect) in [(0, "0"), (999, "999"), (-1_000, "-1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), expect);
        }
        assert_eq!(counted(1, "unit", "units"), "1 unit");
        for (amount, expect) in [("0", "0.00"), ("9.7", "9.70"), ("1.230", "1.23"), ("0.0097", "0.0097")] {
            assert_eq!(money(amount.parse().unwrap()), expect);
        }
    }

    #[test]
    fn a_distance_says_its_direction() {
        let now: Timestamp = "2025-06-10T10:00:00Z".parse().unwrap();
        for (to, expect) in [
            ("2025-06-10T10:00:30Z", "in 0 min"),
            ("2025-06-10T12:09:00Z", "in 2 h 9 min"),
            ("2025-06-12T11:09:00Z", "in 2 d 1 h"),
            ("2025-06-10T09:30:00Z", "30 min ago"),
        ] {
            assert_eq!(distance(to.parse().unwrap(), now), expect);
        }
    }

    #[test]
    fn a_terminal_obeys_nothing_of_others() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\rd"), "a\u{fffd}[2Jb\nc\u{fffd}d");
    }
}
