//! `events/`: one real payload per case, each read by a test.

use crate::Finding;
use crate::files::TextFile;

/// Where the payloads are.
pub const FOLDER: &str = "events/";

/// Checks that every payload is JSON and that its file name stands in one of the Rust sources.
pub fn check(payloads: &[TextFile], sources: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for payload in payloads {
        let name = payload.path.rsplit('/').next().unwrap_or(&payload.path);
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&payload.text) {
            let rule = format!("is no JSON: {error}; events/ holds payloads only");
            findings.push(Finding::new(&payload.path, error.line(), rule));
        }
        if !sources.iter().any(|source| source.text.contains(name)) {
            let rule = "no test reads it: every payload in events/ is used by a test under its file name";
            findings.push(Finding::new(&payload.path, 0, rule));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_unused_or_no_json_is_found() {
        let sources = [TextFile::new(
            "tests/x/tests/y.rs",
            "include_str!(\"../events/bill-updated.json\")",
        )];
        let check = |name: &str, text: &str| {
            let payload = TextFile::new(&format!("{FOLDER}{name}"), text);
            check(&[payload], &sources)
                .iter()
                .map(|finding| finding.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(check("bill-updated.json", "{}"), [0; 0]);
        assert_eq!(check("bill-deleted.json", "{}"), [0]);
        assert_eq!(check("bill-updated.json", "{\n"), [2]);
        assert_eq!(check("bill-deleted.json", ""), [1, 0]);
    }
}
