//! `kill -9` at any moment of the demo, and the same folder again: nothing lost, nothing doubled.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Moments of the demo at which it is killed.
const MOMENTS: u32 = 8;

/// Three free ports in a row; another program may still take them before the sandbox does, so a start is tried again.
fn free_port() -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let next = |offset| TcpListener::bind(("127.0.0.1", port + offset));
        if port < 65_000 && next(1).is_ok() && next(2).is_ok() {
            return port;
        }
    }
}

fn start(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(["--once", "--port", &free_port().to_string(), "--data"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The lines that say what AWS bills, hour by hour.
fn report(output: &str) -> Vec<String> {
    let rows = output
        .lines()
        .filter(|line| line.starts_with('│') && line.contains("as it should be"));
    rows.map(str::to_owned).collect()
}

#[test]
fn a_sandbox_that_is_killed_at_any_moment_goes_on_where_it_was() {
    let whole = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let undisturbed = start(whole.path()).wait_with_output().unwrap();
    let took = begun.elapsed();
    let undisturbed_text = String::from_utf8_lossy(&undisturbed.stdout).into_owned();
    assert!(
        undisturbed.status.success(),
        "{undisturbed_text}{}",
        String::from_utf8_lossy(&undisturbed.stderr)
    );
    let expected = report(&undisturbed_text);
    assert_eq!(expected.len(), 3, "{undisturbed_text}");

    let mut killed = 0;
    for moment in 1..=MOMENTS {
        let folder = tempfile::tempdir().unwrap();
        // The second kill meets a sandbox that is finding out what the first had already done.
        for share in [f64::from(moment) / f64::from(MOMENTS + 1), 0.15] {
            let mut sandbox = start(folder.path());
            std::thread::sleep(took.mul_f64(share));
            if sandbox.try_wait().unwrap().is_none() {
                sandbox.kill().unwrap();
                killed += 1;
            }
            sandbox.wait().unwrap();
        }
        let last = start(folder.path()).wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&last.stdout).into_owned();
        assert!(
            last.status.success(),
            "{moment}: {text}{}",
            String::from_utf8_lossy(&last.stderr)
        );
        assert_eq!(report(&text), expected, "{moment}: {text}");
    }
    // The moments are shares of what the undisturbed demo took; on a machine that became faster meanwhile some come too late.
    assert!(killed >= MOMENTS / 2, "only {killed} kills met a running demo");
}
