//! What is never left behind: notes to self, code that is not there yet, tests that are switched off,
//! and files that nobody reads in one sitting.

use crate::Finding;
use crate::files::TextFile;

/// The longest Rust file.
pub const LINES_MAX: usize = 600;

/// Files with other endings may hold anything.
const EXTENSIONS: [&str; 6] = ["rs", "md", "yaml", "yml", "toml", "sh"];

// Put together here, so that this file does not find itself.
const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const CODE: [&str; 4] = [
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("#[ig", "nore"),
    concat!("db", "g!("),
];

/// Checks one file.
pub fn check(file: &TextFile) -> Vec<Finding> {
    if !EXTENSIONS.contains(&file.extension()) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let note = NOTES.into_iter().find(|note| has_word(line, note));
        let code = CODE.into_iter().find(|code| has_word(line, code));
        if let Some(left) = note.or(code.filter(|_| file.extension() == "rs")) {
            let rule = format!("`{left}` was left behind: do it, or say in words what is not done");
            findings.push(Finding::new(&file.path, index + 1, rule));
        }
    }
    let lines = file.text.lines().count();
    if file.extension() == "rs" && lines > LINES_MAX {
        let rule = format!("has {lines} lines: a Rust file has at most {LINES_MAX}; split it by subject");
        findings.push(Finding::new(&file.path, LINES_MAX + 1, rule));
    }
    findings
}

/// Whether a text stands in a line and is not a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let in_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let after = rest.strip_prefix(word).and_then(|after| after.chars().next());
        let begins =
            !word.starts_with(in_word) || before.chars().next_back().is_none_or(|character| !in_word(character));
        let ends = !word.ends_with(in_word) || after.is_none_or(|character| !in_word(character));
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let findings = check(&TextFile::new(path, text));
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn what_was_left_behind_is_found() {
        for note in NOTES {
            for path in ["a.rs", "a.md", "a.yaml", "a.toml"] {
                assert_eq!(lines(path, &format!("fine\n// {note}: later")), [2], "{path} {note}");
            }
            assert_eq!(lines("a.rs", &format!("{note}S my{note}")), [0; 0]);
            assert_eq!(lines("a.json", note), [0; 0]);
        }
        for code in CODE {
            assert_eq!(lines("a.rs", &format!("fine\n    {code}")), [2], "{code}");
            assert_eq!(
                lines("a.rs", &format!("my{code}")).len(),
                usize::from(code.starts_with('#')),
                "{code}"
            );
            assert_eq!(lines("a.md", code), [0; 0], "{code}");
        }
        assert_eq!(lines("a.rs", &format!("{} = \"slow\"]", CODE[2])), [1]);
    }

    #[test]
    fn a_long_file_is_found() {
        let text = |lines: usize| "line\n".repeat(lines);
        assert_eq!(lines("a.rs", &text(LINES_MAX)), [0; 0]);
        assert_eq!(lines("a.rs", &text(LINES_MAX + 1)), [LINES_MAX + 1]);
        assert_eq!(lines("a.md", &text(LINES_MAX + 1)), [0; 0]);
    }
}
