//! `template.yaml`, deployed by AWS SAM into ministack, an emulator of AWS that runs the real programs, and used: the queue, the API, the
//! schedules, a dead letter, and the deletion of the stack. AWS Marketplace and CloudTrail are the sandbox's.
//!
//! What the emulator gets wrong, and what is therefore changed in the copy that is deployed, is in `docs/decisions/0007`. Nothing reaches a
//! network but the installation of the Python packages.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use counterparts::{MINISTACK_REQUIREMENTS, SAM_REQUIREMENTS, python};
use sandbox::Sandbox;
use tokio::process::{Child, Command};

const STACK: &str = "tried";
const START_WITHIN: Duration = Duration::from_secs(60);
const BUCKET: &str = "code";

/// What is changed in the template, because the emulator refuses or misreads it: each piece and what stands for it.
const CHANGES: [(&str, &str); 1] = [(
    // It gives `MaximumConcurrency` as the text that a parameter is, and then compares it with a number.
    "MaximumConcurrency: !Ref DispatchConcurrencyMax",
    "MaximumConcurrency: 4",
)];
/// Resources that it does not have: alarms on an expression of several metrics.
const LEFT_OUT: [&str; 1] = ["DiscrepancyAlarm"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder as `sam build` leaves it: the template, and beside it the program of each function, here of the debug build.
async fn built(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut template = std::fs::read_to_string(root().join("template.yaml"))?;
    for (right, changed) in CHANGES {
        ensure!(template.contains(right), "{right} is not in the template");
        template = template.replace(right, changed);
    }
    for resource in LEFT_OUT {
        let from = template.find(&format!("\n  {resource}:\n"));
        let from = from.with_context(|| format!("{resource} is not in the template"))?;
        let length = template[from..]
            .find("\n\n")
            .context("a resource ends at an empty line")?;
        template.replace_range(from..from + length, "");
    }
    for name in ["bill-dispatch", "api", "reconcile"] {
        let code = folder.join("functions").join(name);
        std::fs::create_dir_all(&code)?;
        std::fs::copy(end_to_end::programs::program(name).await?, code.join("bootstrap"))?;
    }
    for name in ["LICENSE", "README.md"] {
        std::fs::copy(root().join(name), folder.join(name))?;
    }
    let path = folder.join("template.yaml");
    std::fs::write(&path, template)?;
    Ok(path)
}

/// The emulator and the functions that it has started: all of them end with it.
struct Emulator {
    process: Child,
    url: String,
}

impl Emulator {
    async fn start(folder: &Path) -> anyhow::Result<Emulator> {
        let python = python(Path::new(env!("CARGO_TARGET_TMPDIR")), MINISTACK_REQUIREMENTS)?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let log = std::fs::File::create(folder.join("ministack.log"))?;
        let process = Command::new(python)
            .args(["-m", "ministack"])
            .env_clear()
            .envs(surroundings(folder, &url))
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("MINISTACK_HOST", "127.0.0.1")
            .env("MINISTACK_ACCOUNT_ID", sandbox::aws::HOME_ACCOUNT)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let emulator = Emulator { process, url };
        let (health, until) = (
            format!("{}/_ministack/health", emulator.url),
            Instant::now() + START_WITHIN,
        );
        while reqwest::get(&health).await.is_err() {
            ensure!(Instant::now() < until, "ministack does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(emulator)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // The group is the emulator's own, so nothing else can be in it.
        if let Some(leader) = self.process.id() {
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{leader}")])
                .status();
        }
    }
}

/// Nothing of this process's own: a developer's AWS profile must not decide anything here, nor be reached.
fn surroundings(folder: &Path, url: &str) -> Vec<(&'static str, String)> {
    let path = std::env::var("PATH").unwrap_or_default();
    vec![
        ("PATH", path),
        ("HOME", folder.display().to_string()),
        ("TMPDIR", folder.display().to_string()),
        ("AWS_ENDPOINT_URL", url.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("SAM_CLI_TELEMETRY", "0".to_owned()),
        ("SAM_CLI_POLLING_TELEMETRY", "0".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("PYTHONUTF8", "1".to_owned()),
    ]
}

/// Runs a command to its end, and says what it said if it fails.
async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if !output.status.success() {
        bail!("{:?} failed:\n{said}", command.as_std());
    }
    Ok(said)
}

fn sam(folder: &Path, emulator: &Emulator) -> anyhow::Result<Command> {
    let python = python(Path::new(env!("CARGO_TARGET_TMPDIR")), SAM_REQUIREMENTS)?;
    let mut sam = Command::new(python.with_file_name("sam"));
    sam.current_dir(folder)
        .env_clear()
        .envs(surroundings(folder, &emulator.url));
    Ok(sam)
}

async fn story(what: &str, folder: &Path, emulator: &Emulator, sandbox: &Sandbox) -> anyhow::Result<String> {
    let python = python(Path::new(env!("CARGO_TARGET_TMPDIR")), MINISTACK_REQUIREMENTS)?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/deployed.py");
    let mut command = Command::new(python);
    command
        .arg(program)
        .arg(what)
        .env_clear()
        .envs(surroundings(folder, &emulator.url))
        .env("STACK", STACK)
        .env("SANDBOX_CONTROLS", &sandbox.addresses().controls);
    run(&mut command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_is_deployed_used_and_deleted() -> anyhow::Result<()> {
    let begun = Instant::now();
    let step = |what: &str, said: &str| println!("{:>4} s  {what}\n{said}", begun.elapsed().as_secs());
    let folder = tempfile::tempdir()?;
    let template = built(folder.path()).await?;
    step("programs and template", "");
    let sandbox = counterparts::sandbox().await?;
    let emulator = Emulator::start(folder.path()).await?;
    step("emulator", "");

    let stand_ins = &sandbox.addresses().aws;
    reqwest::Client::new()
        .put(format!("{}/{BUCKET}", emulator.url))
        .send()
        .await?
        .error_for_status()?;
    let mut deploy = sam(folder.path(), &emulator)?;
    deploy.args([
        "deploy",
        "--no-confirm-changeset",
        "--no-progressbar",
        "--capabilities",
        "CAPABILITY_IAM",
    ]);
    deploy.args(["--stack-name", STACK, "--s3-bucket", BUCKET, "--template-file"]);
    deploy.arg(&template).arg("--parameter-overrides").args([
        format!("Architecture={}", std::env::consts::ARCH.replace("aarch64", "arm64")),
        format!("MeteringEndpoint={stand_ins}"),
        format!("CloudTrailEndpoint={stand_ins}"),
    ]);
    let told = async {
        run(&mut deploy).await?;
        step("sam deploy", "");
        step("used", &story("use", folder.path(), &emulator, &sandbox).await?);
        run(sam(folder.path(), &emulator)?.args([
            "delete",
            "--no-prompts",
            "--stack-name",
            STACK,
            "--region",
            "us-east-1",
        ]))
        .await?;
        step("sam delete", &story("left", folder.path(), &emulator, &sandbox).await?);
        anyhow::Ok(())
    };
    let told = told.await;
    let log = std::fs::read_to_string(folder.path().join("ministack.log"))?;
    let end = log.len().saturating_sub(8_000);
    told.with_context(|| format!("the emulator's log ends:\n{}", log.get(end..).unwrap_or(&log)))
}
