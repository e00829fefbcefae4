//! The checks, on the files that are here. A failure names file, line and rule.

use layout::files::{TextFile, below};
use layout::{Finding, packages, payloads, report, residue, rings};

fn files() -> Vec<TextFile> {
    below("").unwrap()
}

fn pass(findings: &[Finding]) {
    assert!(findings.is_empty(), "{}\n", report(findings));
}

/// Checks each file that `applies`; that there is none would mean that a check lost its subject.
fn each(applies: impl Fn(&TextFile) -> bool, check: impl Fn(&TextFile) -> Vec<Finding>) {
    let files: Vec<TextFile> = files().into_iter().filter(applies).collect();
    assert!(!files.is_empty(), "there is no file to check");
    pass(&files.iter().flat_map(check).collect::<Vec<_>>());
}

#[test]
fn an_inner_ring_never_names_an_outer_one_and_decisions_are_pure() {
    each(rings::applies, rings::check);
}

#[test]
fn the_shared_crate_names_no_lambda_crate() {
    each(rings::applies, packages::check_source);
}

#[test]
fn packages_depend_in_one_direction() {
    let packages = packages::read().unwrap();
    for name in ["outbill", "bill-dispatch", "api", "marketplace", "outbill-command-line"] {
        assert!(packages.iter().any(|package| package.name == name), "no package {name}");
    }
    pass(&packages::check(&packages));
}

#[test]
fn every_payload_in_events_is_json_and_used_by_a_test() {
    let (payloads, others): (Vec<_>, Vec<_>) = files()
        .into_iter()
        .partition(|file| file.path.starts_with(payloads::FOLDER));
    let folders = ["tests/", "functions/", "shared/"];
    let is_source = |file: &TextFile| {
        file.extension() == "rs"
            && !file.path.starts_with("tests/layout/")
            && folders.iter().any(|folder| file.path.starts_with(folder))
    };
    let sources: Vec<TextFile> = others.into_iter().filter(is_source).collect();
    pass(&payloads::check(&payloads, &sources));
}

#[test]
fn nothing_is_left_behind_and_no_file_is_too_long() {
    each(|_| true, residue::check);
}
