//! `template.yaml`, looked at by the tools that deploy it: AWS SAM finds misspelt properties of its own resources, cfn-lint bad references and
//! values of CloudFormation's. Neither reaches a network.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use counterparts::{SAM_REQUIREMENTS, python};

fn template() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml")
}

/// A tool beside the Python that it was installed for.
fn run(tool: &str, arguments: &[&str], template: &Path) -> anyhow::Result<Output> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let python = python(folder, SAM_REQUIREMENTS)?;
    let output = Command::new(python.with_file_name(tool))
        .args(arguments)
        .arg(template)
        .current_dir(folder)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("SAM_CLI_TELEMETRY", "0")
        .env("SAM_CLI_POLLING_TELEMETRY", "0")
        .env("__SAM_CLI_APP_DIR", folder.join("sam"))
        .output()?;
    Ok(output)
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Transforms the template, which finds what SAM's own resources cannot mean.
const TRANSFORM: &[&str] = &["validate", "--template"];
const LINT: &[&str] = &["validate", "--lint", "--template"];

#[test]
fn sam_and_cfn_lint_find_nothing_wrong() -> anyhow::Result<()> {
    for (tool, arguments) in [("sam", TRANSFORM), ("sam", LINT), ("cfn-lint", &[])] {
        let output = run(tool, arguments, &template())?;
        assert!(output.status.success(), "{tool}: {}", said(&output));
    }
    Ok(())
}

/// Both stages of `samconfig.toml` are read: each asks for the lint, without which SAM says that it looked at the basics only.
#[test]
fn every_stage_validates() -> anyhow::Result<()> {
    let stages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samconfig.toml");
    for stage in ["default", "production"] {
        let arguments = ["validate", "--config-file", stages, "--config-env", stage, "--template"];
        let output = run("sam", &arguments, &template())?;
        let said = said(&output);
        assert!(output.status.success() && !said.contains("basic"), "{stage}: {said}");
    }
    Ok(())
}

#[test]
fn they_would_find_a_mistake() -> anyhow::Result<()> {
    let written = std::fs::read_to_string(template())?;
    let (queue, queues) = ("Queue: !GetAtt BillQueue.Arn", "Queues: !GetAtt BillQueue.Arn");
    let (name, nothing) = (
        "!GetAtt BillDeadLetterQueue.QueueName",
        "!GetAtt BillDeadLetterQueue.Nothing",
    );
    let mistakes = [
        ("sam", TRANSFORM, queue, queues),
        ("sam", LINT, name, nothing),
        ("cfn-lint", &[], name, nothing),
    ];
    let folder = tempfile::tempdir()?;
    for (tool, arguments, right, wrong) in mistakes {
        let spoilt = written.replace(right, wrong);
        assert_ne!(spoilt, written, "{right}");
        let path = folder.path().join("template.yaml");
        std::fs::write(&path, spoilt)?;
        let output = run(tool, arguments, &path)?;
        assert!(!output.status.success(), "{tool} finds nothing wrong with {wrong}");
    }
    Ok(())
}
