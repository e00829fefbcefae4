//! Which package of the workspace depends on which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::Finding;
use crate::code::named;
use crate::files::{TextFile, root};

/// The package that knows Outbill from outside only.
const COMMAND_LINE: &str = "outbill-command-line";

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, from the root.
    pub folder: String,
    /// The real names of all that it depends on, also for tests and builds.
    pub dependencies: BTreeSet<String>,
}

/// The packages as Cargo sees them, renames and workspace inheritance resolved. Error: what Cargo said.
pub fn read() -> Result<Vec<Package>, String> {
    let root = root().canonicalize().map_err(|error| error.to_string())?;
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(&root)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let root = root.to_string_lossy();
    let read: Option<Vec<Package>> =
        packages.and_then(|packages| packages.iter().map(|one| package(one, &root)).collect());
    read.ok_or_else(|| "cargo metadata is not of the form that is read here".to_owned())
}

fn package(package: &Value, root: &str) -> Option<Package> {
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let manifest = text(package, "manifest_path")?;
    let folder = manifest.strip_prefix(root)?.trim_start_matches(['/', '\\']);
    let folder = folder.strip_suffix("Cargo.toml")?.trim_end_matches(['/', '\\']);
    let dependencies = package.get("dependencies")?.as_array()?;
    Some(Package {
        name: text(package, "name")?,
        folder: folder.replace('\\', "/"),
        dependencies: dependencies
            .iter()
            .map(|one| text(one, "name"))
            .collect::<Option<_>>()?,
    })
}

/// Checks who depends on whom.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let by_name: BTreeMap<&str, &Package> = packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    let is_function = |name: &str| {
        by_name
            .get(name)
            .is_some_and(|package| package.folder.starts_with("functions/"))
    };
    let mut findings = Vec::new();
    for package in packages {
        let mut refuse = |rule: String| findings.push(Finding::new(&format!("{}/Cargo.toml", package.folder), 0, rule));
        for dependency in &package.dependencies {
            if is_function(&package.name) && is_function(dependency) {
                refuse(format!(
                    "depends on `{dependency}`: a function never depends on another one"
                ));
            }
            if package.name == "outbill" && is_lambda(dependency) {
                refuse(format!(
                    "depends on `{dependency}`: the shared crate names no Lambda crate"
                ));
            }
            if package.name == "outbill" && by_name.contains_key(dependency.as_str()) {
                refuse(format!("depends on `{dependency}`: the shared crate stands alone"));
            }
        }
        for dependency in package.dependencies.iter().filter(|_| package.name == COMMAND_LINE) {
            let is_ours = by_name.contains_key(dependency.as_str()) && dependency != "sandbox";
            if is_ours || dependency.starts_with("aws") {
                refuse(format!(
                    "depends on `{dependency}`: the command line speaks the HTTP API and nothing else; its tests may have the sandbox"
                ));
            }
        }
        if package.name == "marketplace" && reaches(&by_name, "marketplace", "outbill") {
            refuse(
                "depends on `outbill`, directly or not: AWS's rules are restated here, so that a misreading is not confirmed by its own copy"
                    .to_owned(),
            );
        }
    }
    findings
}

/// Checks that a source of `shared` names no Lambda crate.
pub fn check_source(file: &TextFile) -> Vec<Finding> {
    let all = match named(&file.text) {
        Ok(all) => all,
        Err(error) => return vec![Finding::new(&file.path, 0, format!("cannot be read as Rust: {error}"))],
    };
    let lambda = all.iter().filter(|name| {
        let first = name.parts.first().filter(|_| name.imported || name.parts.len() > 1);
        first.is_some_and(|first| is_lambda(first))
    });
    let finding = |name: &crate::code::Named| {
        let rule = format!("names `{}`: the shared crate names no Lambda crate", name.text());
        Finding::new(&file.path, name.line, rule)
    };
    lambda.map(finding).collect()
}

fn is_lambda(krate: &str) -> bool {
    let krate = krate.replace('-', "_");
    krate.starts_with("lambda_") || krate.starts_with("aws_lambda")
}

fn reaches(packages: &BTreeMap<&str, &Package>, from: &str, to: &str) -> bool {
    let (mut seen, mut waiting) = (BTreeSet::from([from]), vec![from]);
    while let Some(name) = waiting.pop() {
        let Some(package) = packages.get(name) else { continue };
        for dependency in &package.dependencies {
            if dependency == to {
                return true;
            }
            if seen.insert(dependency) {
                waiting.push(dependency);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            folder: folder.to_owned(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn rules(packages: &[Package]) -> Vec<(String, String)> {
        let short = |finding: Finding| {
            (
                finding.file,
                finding.rule.split(':').next().unwrap_or_default().to_owned(),
            )
        };
        check(packages).into_iter().map(short).collect()
    }

    #[test]
    fn dependencies_in_the_wrong_direction_are_found() {
        let packages = [
            package(
                "outbill",
                "shared",
                &["serde", "lambda_runtime", "aws_lambda_events", "api"],
            ),
            package("api", "functions/api", &["outbill", "lambda_http", "bill-dispatch"]),
            package("bill-dispatch", "functions/bill-dispatch", &["outbill"]),
            package("rules", "tests/rules", &["outbill"]),
            package("marketplace", "tests/marketplace", &["rules"]),
            package(
                COMMAND_LINE,
                "command-line",
                &["clap", "sandbox", "outbill", "aws-config"],
            ),
        ];
        let expect = [
            ("shared/Cargo.toml", "depends on `api`"),
            ("shared/Cargo.toml", "depends on `aws_lambda_events`"),
            ("shared/Cargo.toml", "depends on `lambda_runtime`"),
            ("functions/api/Cargo.toml", "depends on `bill-dispatch`"),
            ("tests/marketplace/Cargo.toml", "depends on `outbill`, directly or not"),
            ("command-line/Cargo.toml", "depends on `aws-config`"),
            ("command-line/Cargo.toml", "depends on `outbill`"),
        ];
        assert_eq!(
            rules(&packages),
            expect.map(|(file, rule)| (file.to_owned(), rule.to_owned()))
        );
    }

    #[test]
    fn dependencies_in_the_right_direction_are_not() {
        let packages = [
            package("outbill", "shared", &["serde", "aws-sdk-sqs"]),
            package("api", "functions/api", &["outbill", "lambda_http"]),
            package("marketplace", "tests/marketplace", &["serde"]),
            package("sandbox", "tests/sandbox", &["api", "outbill", "marketplace"]),
        ];
        assert_eq!(rules(&packages), []);
    }

    #[test]
    fn a_lambda_crate_in_a_source_is_found() {
        let check = |text: &str| check_source(&TextFile::new("shared/src/outbill.rs", text)).len();
        assert_eq!(check("use lambda_runtime::Error;"), 1);
        assert_eq!(check("fn f(event: aws_lambda_events::sqs::SqsEvent) {}"), 1);
        assert_eq!(check("// lambda_runtime::Error\nfn f(lambda_count: u8) {}"), 0);
    }
}
