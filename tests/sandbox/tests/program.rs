//! The program as a person starts it, and as `kill -9` ends it.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

struct Program {
    child: Child,
    controls: String,
    /// Kept open: what the program says later must not break its pipe.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGKILL, which nothing can prepare for.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sandbox"))
}

fn start(folder: &Path) -> Program {
    let port = free_port();
    let mut child = command()
        .args(["--no-demo", "--port", &port.to_string(), "--data"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let controls = format!("http://127.0.0.1:{}", port + 2);
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = said.by_ref().map_while(Result::ok).any(|line| line.contains(&controls));
    assert!(ready, "the program says where its controls are");
    Program {
        child,
        controls,
        _said: said,
    }
}

// Three ports in a row that were free a moment ago.
fn free_port() -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = [1, 2].map(|index| {
            port.checked_add(index)
                .and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        });
        if others.iter().all(Option::is_some) {
            return port;
        }
    }
}

async fn get(program: &Program, path: &str) -> Value {
    reqwest::get(format!("{}{path}", program.controls))
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_program_makes_access_keys() {
    let folder = tempfile::tempdir().unwrap();
    let program = start(folder.path());
    let controls: u16 = program.controls.rsplit(':').next().unwrap().parse().unwrap();
    let port = (controls - 2).to_string();
    let make = |more: &[&str]| {
        let output = command()
            .args(["access-key", "--port", &port])
            .args(more)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let wrong = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), said, wrong)
    };
    let ready = get(&program, "/access-key").await;
    let token = async |key: &Value| {
        let text = |field: &str| key[field].as_str().unwrap().to_owned();
        let request = reqwest::Client::new()
            .post(format!("http://127.0.0.1:{port}/oauth/token"))
            .basic_auth(text("accessKeyId"), Some(text("apiSecret")))
            .form(&[("grant_type", "client_credentials")]);
        request.send().await.unwrap().status().as_u16()
    };
    let (good, said, wrong) = make(&[]);
    assert!(good, "{wrong}");
    let key: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(key["orgId"], ready["orgId"]);
    assert_ne!(key["accessKeyId"], ready["accessKeyId"]);
    assert_eq!(token(&key).await, 200);
    let (good, said, _) = make(&[
        "--organization",
        "other",
        "--permissions",
        "CONFIG_RETRIEVE,CONFIG_UPDATE",
    ]);
    let key: Value = serde_json::from_str(&said).unwrap();
    assert!(good && key["orgId"] == "other");
    assert_eq!(token(&key).await, 200);
    let (good, _, wrong) = make(&["--permissions", "EVERYTHING"]);
    assert!(
        !good && wrong.contains("permissions") && wrong.lines().count() == 1,
        "{wrong}"
    );
    drop(program);
    let (good, _, wrong) = make(&[]);
    assert!(!good && wrong.contains("no sandbox answers"), "{wrong}");
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = 0;
    let mut key = None;
    for round in 0..3 {
        let program = start(folder.path());
        let billed = get(&program, "/marketplace").await["billed"].clone();
        assert_eq!(billed.as_array().unwrap().len(), expected, "round {round}");
        let access_key = get(&program, "/access-key").await;
        assert_eq!(key.get_or_insert(access_key.clone()), &access_key);
        for dimension in 0..5 {
            let usage = format!(
                r#"{{"region":"us-east-1","productCode":"p","customer":"c","dimension":"{round}-{dimension}","hour":"2026-03-10T10:00:00Z","quantity":3}}"#
            );
            let answer = reqwest::Client::new()
                .post(format!("{}/foreign-usage", program.controls))
                .body(usage)
                .send()
                .await
                .unwrap();
            assert!(answer.status().is_success());
            expected += 1;
        }
    }
}

#[test]
fn what_goes_wrong_is_one_line() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().min(65_533).to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().to_str().unwrap();
    for (arguments, named) in [
        (&["--no-demo", "--port", &port][..], port.as_str()),
        (&["--frobnicate"], "--frobnicate"),
        (&["--no-demo", "--data", file], file),
    ] {
        let output = command().args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(named), "{said}");
    }
}
