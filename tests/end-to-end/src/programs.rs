//! The functions' programs, for tests that start them as processes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The programs, built now.
///
/// `cargo test` builds a package's programs only along with that package's own integration tests, so those in the target folder may be
/// missing or of yesterday. Cargo is therefore asked for them here: it compiles what is stale and says where everything lies. It is asked
/// for the whole workspace with its tests, because that is what `cargo test --workspace` has just built: another selection gives the
/// dependencies other features, and compiles most of them again. It waits for no lock: `cargo test` lets go of the folder before it starts
/// any test.
async fn programs() -> anyhow::Result<&'static HashMap<String, PathBuf>> {
    static PROGRAMS: OnceCell<HashMap<String, PathBuf>> = OnceCell::const_new();
    PROGRAMS.get_or_try_init(build).await
}

async fn build() -> anyhow::Result<HashMap<String, PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    // What Cargo tells a test about its package; build scripts look at some of it, and would see a change where there is none.
    let told = [
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PRIMARY_",
    ];
    for (variable, _) in std::env::vars_os() {
        if told.iter().any(|prefix| variable.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(variable);
        }
    }
    let output = cargo
        .args([
            "build",
            "--locked",
            "--message-format=json",
            "--workspace",
            "--bins",
            "--tests",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .arg("--target-dir")
        .arg(target_folder()?)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cargo does not start")?;
    ensure!(
        output.status.success(),
        "the functions do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout)?;
    let programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message.pointer("/target/name")?.as_str()?;
        let program = message.get("executable")?.as_str()?;
        // A program's own unit tests are executables of the same name.
        if message.pointer("/profile/test")?.as_bool()? {
            return None;
        }
        Some((name.to_owned(), PathBuf::from(program)))
    });
    Ok(programs.collect())
}

/// `<target>/debug/deps/runtime-…` is this program; the folder may have any name and place.
fn target_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(3);
    Ok(folder.context("the test program lies nowhere")?.to_owned())
}

/// The program of a function, by its package's name.
pub async fn program(name: &str) -> anyhow::Result<PathBuf> {
    let program = programs().await?.get(name).cloned();
    program.with_context(|| format!("cargo built no program {name}"))
}
