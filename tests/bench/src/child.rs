//! The child process that holds the sandbox, and what it tells when it is ready.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use outbill::effects::metrics::Metrics;
use outbill::values::ids::OrganizationId;
use outbill::{Environment, Outbill};
use sandbox::queues::QueueName;
use sandbox::seller::Seller;
use sandbox::{Sandbox, functions};
use serde_json::{Value, json};

/// Requests by service and action.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// The child; dropping it ends it.
pub struct Child {
    process: std::process::Child,
    told: Value,
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that has ended already needs no ending.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Child {
    /// Starts this program once more, with the same arguments, to hold the sandbox; waits until it is ready.
    pub fn start() -> anyhow::Result<Child> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .arg("--serve")
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("the child's output")?;
        let mut child = Child {
            process,
            told: Value::Null,
        };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        child.told = serde_json::from_str(&line).context("the child did not get ready")?;
        Ok(child)
    }

    /// What the child told.
    pub fn text(&self, field: &str) -> &str {
        self.told.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Outbill as a function has it, on the child's stand-ins. What it measures for CloudWatch is thrown away.
    pub async fn outbill(&self) -> Outbill {
        connect(self.text("aws"), self.text("m3ter")).await
    }

    pub fn organization(&self) -> anyhow::Result<OrganizationId> {
        Ok(OrganizationId::new(self.text("organization"))?)
    }

    /// The requests that came since the count was cleared.
    pub fn requests(&self) -> anyhow::Result<Counts> {
        Ok(serde_json::from_str(&self.control("GET", "/requests", "")?)?)
    }

    pub fn clear_requests(&self) -> anyhow::Result<()> {
        self.control("DELETE", "/requests", "").map(|_| ())
    }

    /// A control of the sandbox.
    pub fn control(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let address = self.text("controls").trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer of the controls")?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        Ok(body.to_owned())
    }
}

/// See [`Child::outbill`].
pub async fn connect(aws: &str, m3ter: &str) -> Outbill {
    let environment = Environment {
        table: functions::TABLE.to_owned(),
        bill_queue_url: sandbox::aws::queue_url(aws, QueueName::Bills),
        secret_prefix: "outbill/".to_owned(),
        m3ter_base_url: m3ter.to_owned(),
        alert_sender: String::new(),
        log: "warn".to_owned(),
    };
    Outbill {
        metrics: Metrics::new(&environment.secret_prefix, Arc::new(|_| ())),
        ..Outbill::connect(&functions::sdk(aws, functions::REGION).await, &environment)
    }
}

/// The child's side: tells where everything is, and holds the sandbox until it is ended.
pub async fn hold(sandbox: &Sandbox, seller: &Seller) -> anyhow::Result<()> {
    sandbox.clear_requests();
    let addresses = sandbox.addresses();
    println!(
        "{}",
        json!({
            "api": addresses.api, "aws": addresses.aws, "m3ter": addresses.m3ter, "controls": addresses.controls,
            "organization": seller.organization(), "token": seller.token(),
            "queue": sandbox::aws::queue_url(&addresses.aws, QueueName::Bills),
        })
    );
    std::future::pending::<()>().await;
    Ok(())
}
