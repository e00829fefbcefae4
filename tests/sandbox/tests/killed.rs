//! `kill -9` at any moment of the demo, and the same folder again: nothing lost, nothing doubled.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Moments of the demo at which it is killed.
const MOMENTS: u32 = 8;
/// Starts of one sandbox; another program may take a port between the look and the start.
const STARTS_MAX: u32 = 5;

/// Three ports in a row that were free a moment ago.
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

/// Plays the demo to its end, or until it is killed. Gives what was said, and whether the kill met a running demo.
fn play(folder: &Path, killed_after: Option<Duration>) -> (Output, bool) {
    for _ in 0..STARTS_MAX {
        let mut sandbox = start(folder);
        let mut is_killed = false;
        if let Some(after) = killed_after {
            std::thread::sleep(after);
            if sandbox.try_wait().unwrap().is_none() {
                sandbox.kill().unwrap();
                is_killed = true;
            }
        }
        let output = sandbox.wait_with_output().unwrap();
        let lacks_a_port = String::from_utf8_lossy(&output.stderr).contains("is another sandbox running?");
        if is_killed || !lacks_a_port {
            return (output, is_killed);
        }
    }
    panic!("{STARTS_MAX} times another program took a port that was free");
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
    let (undisturbed, _) = play(whole.path(), None);
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
            let (_, is_killed) = play(folder.path(), Some(took.mul_f64(share)));
            killed += u32::from(is_killed);
        }
        let (last, _) = play(folder.path(), None);
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
