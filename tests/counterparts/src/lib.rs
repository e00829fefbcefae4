//! Programs that others wrote, in a Python of their own, driven against the sandbox or given the template.
//!
//! The virtual environment is made once for a list of requirements, in Cargo's folder for tests, and kept. Of several test programs that
//! start at once, one makes it and the others wait. Without Python the tests fail: what they show cannot be shown without it.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sandbox::{Options, Sandbox, functions};
use sha2::{Digest, Sha256};

/// What is installed for m3ter's SDK and the generator of requests, each in the version that was tried.
pub const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
/// The same for AWS SAM and cfn-lint, which want other versions of some.
pub const SAM_REQUIREMENTS: &str = include_str!("../python/sam-requirements.txt");
/// The same for an emulator of AWS.
pub const MINISTACK_REQUIREMENTS: &str = include_str!("../python/ministack-requirements.txt");

/// A Python with what `requirements` list; `folder` is where it is made if it is not there.
pub fn python(folder: &Path, requirements: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join("python.lock"))?;
    lock.lock().context("another test makes the virtual environment")?;
    let environment = folder.join(format!("python-{}", name_of(requirements)));
    let python = environment.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    let ready = environment.join("ready");
    if ready.exists() {
        return Ok(python);
    }
    // What an interrupted attempt left behind.
    if environment.exists() {
        fs::remove_dir_all(&environment)?;
    }
    let make = Command::new("python3").args(["-m", "venv"]).arg(&environment).output();
    let made = make.context("these tests need Python 3.11 or newer as python3, with its module venv")?;
    told("python3 -m venv", &made)?;
    let listed = environment.join("requirements.txt");
    fs::write(&listed, requirements)?;
    let install = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&listed)
        .output()?;
    told("pip install", &install)?;
    fs::write(&ready, "")?;
    Ok(python)
}

fn told(what: &str, output: &std::process::Output) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{what} failed: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn name_of(requirements: &str) -> String {
    Sha256::digest(requirements.as_bytes())
        .iter()
        .take(8)
        .fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
}

/// An empty sandbox on free ports.
pub async fn sandbox() -> anyhow::Result<Sandbox> {
    Ok(Sandbox::start(Options::for_tests(), functions::build).await?)
}

/// A Python program that is told where the sandbox is, and reaches nothing else.
pub fn program(python: &Path, sandbox: &Sandbox) -> tokio::process::Command {
    let key = sandbox.access_key();
    let mut command = tokio::process::Command::new(python);
    command
        .env("M3TER_BASE_URL", &sandbox.addresses().api)
        .env("M3TER_ORG_ID", &key.org_id)
        .env("M3TER_API_KEY", &key.access_key_id)
        .env("M3TER_API_SECRET", &key.api_secret)
        .env("SANDBOX_CONTROLS", &sandbox.addresses().controls)
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("no_proxy", "127.0.0.1,localhost")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    command
}
