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
/// What a column of longer ones needs for words to be read.
const LONG_CHARACTERS_MIN: usize = 30;

/// Where a command's answer goes.
#[derive(Debug)]
pub struct Screen {
    columns: u16,
    has_colours: bool,
}

/// A column of a table.
#[derive(Debug)]
struct Column<'a> {
    /// Its place among all columns.
    place: usize,
    name: &'a str,
    /// Its width where no cell is broken.
    characters: usize,
    /// Whether its cells are never broken.
    is_whole: bool,
}

impl Screen {
    /// The terminal, or the file in its place.
    pub fn of(surroundings: &Surroundings) -> Screen {
        Screen {
            columns: surroundings.columns().unwrap_or(COLUMNS),
            has_colours: surroundings.has_colours(),
        }
    }

    /// A table; the columns in `numbers` are set to the right. A column of long texts that finds too little room stands beneath the table: each text
    /// once, with the rows that it belongs to, which the columns in `known_by` name. Those are never broken.
    pub fn table<const N: usize>(
        &self,
        header: [&str; N],
        rows: &[[String; N]],
        numbers: Range<usize>,
        known_by: &[usize],
    ) -> String {
        let mut kept: Vec<Column> = header
            .iter()
            .enumerate()
            .map(|(place, &name)| {
                let cells = rows.iter().filter_map(|row| row.get(place));
                let longest = cells.map(|cell| characters(cell)).max().unwrap_or_default();
                Column {
                    place,
                    name,
                    characters: longest.max(characters(name)),
                    is_whole: longest <= WHOLE_CHARACTERS_MAX || known_by.contains(&place),
                }
            })
            .collect();
        let mut beneath = Vec::new();
        while let Some(narrow) = self.narrow(&kept) {
            beneath.push(kept.remove(narrow));
        }
        beneath.sort_by_key(|column| column.place);
        format!(
            "{}{}",
            self.drawn(&kept, rows, &numbers),
            told(&beneath, rows, known_by)
        )
    }

    /// The widest of the long columns, where they have too little room. None: there is none, or all have enough.
    fn narrow(&self, columns: &[Column]) -> Option<usize> {
        let whole = columns.iter().filter(|column| column.is_whole);
        let taken: usize = whole.map(|column| column.characters).sum();
        let frame = 3 * columns.len() + 1;
        let room = usize::from(self.columns).saturating_sub(taken + frame);
        let long = columns.iter().enumerate().filter(|(_, column)| !column.is_whole);
        let widest = long.clone().max_by_key(|(_, column)| column.characters);
        widest
            .filter(|_| room < long.count() * LONG_CHARACTERS_MIN)
            .map(|(place, _)| place)
    }

    fn drawn<const N: usize>(&self, columns: &[Column], rows: &[[String; N]], numbers: &Range<usize>) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_header(columns.iter().map(|column| column.name))
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.columns);
        for row in rows {
            let cells = columns.iter().filter_map(|column| row.get(column.place));
            table.add_row(cells.map(|cell| clean(cell)));
        }
        for (drawn, column) in table.column_iter_mut().zip(columns) {
            if column.is_whole {
                drawn.set_constraint(ColumnConstraint::ContentWidth);
            }
            if numbers.contains(&column.place) {
                drawn.set_cell_alignment(CellAlignment::Right);
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

/// The texts of columns that found no room, each once with the names of its rows.
fn told<const N: usize>(columns: &[Column], rows: &[[String; N]], known_by: &[usize]) -> String {
    let width = columns
        .iter()
        .map(|column| characters(column.name))
        .max()
        .unwrap_or_default();
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let mut texts = String::new();
        for column in columns {
            let text = row.get(column.place).map_or("", String::as_str);
            if !text.is_empty() {
                texts.push_str(&format!("\n  {:width$}  {}", column.name, clean(text)));
            }
        }
        if texts.is_empty() {
            continue;
        }
        let name: Vec<&str> = known_by
            .iter()
            .filter_map(|place| row.get(*place))
            .map(String::as_str)
            .collect();
        let name = clean(&name.join(" "));
        match said.iter_mut().find(|(known, _)| *known == texts) {
            Some((_, names)) => names.push(name),
            None => said.push((texts, vec![name])),
        }
    }
    said.into_iter()
        .map(|(texts, names)| format!("\n\n{}{texts}", names.join(", ")))
        .collect()
}

/// The longest of a text's lines.
fn characters(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

/// A row of the API's, read for display. What decides anything is read by [`crate::decisive`].
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

/// A whole number, for display; absent: 0.
pub fn whole(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// The rows of a list in a field, for display; absent: none.
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
        .map(|character| match character {
            '\n' => character,
            _ if character.is_control() || is_bidi_control(character) => '\u{fffd}',
            _ => character,
        })
        .collect()
}

/// Whether a character turns the direction of others, so that what is read is not what stands there.
fn is_bidi_control(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
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

    const WORDS: &str = "account acme has no external mapping to AWS, so nothing of this bill was changed or sent";

    fn lines_of(columns: u16) -> Vec<String> {
        let screen = Screen {
            columns,
            has_colours: false,
        };
        let row = |bill: &str, error: &str, run: &str| [bill, error, "7", run].map(str::to_owned);
        let id = |first: char| format!("{first}1a21258-52e0-7000-8712-e573b5931d10");
        let rows = [
            row("bill-1", WORDS, &id('a')),
            row("bill-2", "", &id('b')),
            row("bill-3", WORDS, &id('c')),
        ];
        let table = screen.table(["bill", "error", "units", "run"], &rows, 2..3, &[3]);
        table.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_long_text_without_room_stands_whole_beneath_its_table() {
        // The table takes 60 columns beside the long text.
        for columns in [40, 60, 80, 89] {
            let lines = lines_of(columns);
            assert_eq!(lines[1], "│ bill   ┆ units ┆ run                                  │");
            assert_eq!(lines[4], "│ bill-2 ┆     7 ┆ b1a21258-52e0-7000-8712-e573b5931d10 │");
            let runs = "a1a21258-52e0-7000-8712-e573b5931d10, c1a21258-52e0-7000-8712-e573b5931d10";
            let text = format!("  error  {WORDS}");
            assert_eq!(lines[7..], ["", runs, text.as_str()], "{columns}");
        }
        for columns in [90, 120, 200] {
            let lines = lines_of(columns);
            assert!(lines[1].starts_with("│ bill   ┆ error "), "{columns}: {}", lines[1]);
            let longest = lines.iter().map(|line| line.chars().count()).max();
            assert!(longest <= Some(usize::from(columns)), "{columns}: {longest:?}");
            assert!(lines.last().is_some_and(|line| line.starts_with('└')), "{columns}");
        }
    }

    #[test]
    fn a_terminal_obeys_nothing_of_others() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\rd"), "a\u{fffd}[2Jb\nc\u{fffd}d");
    }

    #[test]
    fn no_text_of_others_turns_the_direction() {
        for character in "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert_eq!(clean(&format!("1{character}2")), "1\u{fffd}2", "{character:?}");
        }
        let others = "\u{5d0}\u{200d}\u{2010}\u{202f}\u{2065}\u{206a}";
        assert_eq!(clean(others), others);
    }
}
