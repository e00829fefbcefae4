//! A sandbox, and an operator's desk in front of it: a folder for logins, and the program.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod tls;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use sandbox::seller::Seller;
use sandbox::{AccessKey, Change, Fault, Options, Sandbox, functions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

pub const DIMENSION: &str = "78qogxeqwt7zyevfefsw6q48i-measurements";
const BUYER: &str = "111122223333";

/// What the program said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// It went well, and nothing was complained about.
    #[track_caller]
    pub fn well(&self) -> &str {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        &self.out
    }

    /// It failed, and said so where errors belong.
    #[track_caller]
    pub fn failed(&self, code: i32, what: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{}", self.err);
        assert!(
            self.err.contains("error: ") && self.err.contains(what),
            "{what} is not in: {}",
            self.err
        );
    }

    /// Something needs a person.
    #[track_caller]
    pub fn person(&self, what: &str) {
        assert_eq!(self.code, 3, "{}\n{}", self.out, self.err);
        assert!(self.out.contains(what), "{what} is not in: {}", self.out);
    }

    /// The JSON that it printed, and nothing else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.well()).unwrap()
    }
}

/// The sandbox and the folder. Both go when it is dropped.
pub struct Desk {
    sandbox: Option<Sandbox>,
    folder: tempfile::TempDir,
    api: String,
    key: AccessKey,
}

impl Desk {
    /// Nothing is set up, and nobody is logged in. The clock stands at this machine's time.
    pub async fn open() -> Desk {
        let sandbox = Sandbox::start(Options::for_tests(), functions::build).await.unwrap();
        Desk {
            api: sandbox.addresses().api.clone(),
            key: sandbox.access_key().clone(),
            sandbox: Some(sandbox),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The API goes away.
    pub async fn close(mut self) -> Desk {
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.stop().await;
        }
        self
    }

    pub fn api(&self) -> String {
        self.api.clone()
    }

    pub fn key(&self) -> &AccessKey {
        &self.key
    }

    /// The folder of the program's files.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().expect("an open sandbox")
    }

    /// Runs the program with nothing on standard input.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, &[], "").await
    }

    /// Runs the program.
    pub async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outbill"));
        command
            .args(arguments)
            .env_clear()
            .env("XDG_CONFIG_HOME", self.config())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        // A program that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        let output = child.wait_with_output().await.unwrap();
        let said = Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        for text in [&said.out, &said.err] {
            assert!(!text.contains(&self.key.api_secret), "the secret was shown: {text}");
            assert!(!text.contains('\u{1b}'), "colours without a terminal: {text}");
        }
        said
    }

    /// Logs in with the sandbox's key, as a script does.
    pub async fn log_in(&self) -> Said {
        let input = format!("{}\n{}\n", self.key.access_key_id, self.key.api_secret);
        let login = ["login", "--api", &self.api, "--organization", &self.key.org_id];
        self.run_with(&login, &[], &input).await
    }

    /// From now on the login is one at another address.
    pub fn move_the_login(&self, address: &str) {
        let file = self.config().join("outbill/profiles/default.json");
        let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        kept["api"] = json!(address);
        std::fs::write(&file, kept.to_string()).unwrap();
    }

    /// The same API by another client.
    pub async fn seller(&self) -> Seller {
        Seller::log_in(&self.api, &self.key).await.unwrap()
    }

    /// A configuration by bill, with these settings more. Its id.
    pub async fn configure(&self, seller: &Seller, more: Value) -> String {
        let credential = json!({"type": "AWS_INTEGRATION", "destination": "AWS", "name": "own role"});
        let credential = seller.post("integrationcredentials", &credential).await.unwrap();
        let mut data = json!({"splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": DIMENSION});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let configuration = json!({
            "entityType": "Bill", "destination": "AWS", "name": "AWS Marketplace",
            "integrationCredentialsId": credential["id"], "configData": data,
        });
        let made = seller.post("integrationconfigs", &configuration).await.unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Maps the account of [`bill`]; what waited is sent.
    pub async fn map(&self, seller: &Seller) {
        let mapping = json!({
            "m3terEntity": "Account", "m3terId": "acme", "externalSystem": "AWS", "externalTable": "Customer", "externalId": BUYER,
        });
        seller.post("externalmappings", &mapping).await.unwrap();
        self.sandbox().drain().await;
    }

    /// A version of the bill, handled.
    pub async fn bill(&self, version: u32, amount: &str) {
        self.bill_of("bill-1", "acme", version, amount).await;
    }

    /// A version of a bill of an account, handled.
    pub async fn bill_of(&self, id: &str, account: &str, version: u32, amount: &str) {
        let mut bill = bill(version, amount);
        (bill["id"], bill["accountId"]) = (json!(id), json!(account));
        let message = json!({"orgId": self.key.org_id, "bill": bill});
        self.sandbox().send(&message).await.unwrap();
    }

    /// The buyer signs or leaves.
    pub fn subscribed(&self, subscribed: bool) {
        let statement = serde_json::from_value(json!({"customer": BUYER, "subscribed": subscribed})).unwrap();
        self.sandbox().change(Change::BuyerStated { statement }).unwrap();
    }

    pub fn faults(&self, faults: Vec<Fault>) {
        self.sandbox().faults(faults).unwrap();
    }

    /// The table is lost, and restored from a copy of this moment.
    pub async fn restore_the_table(&self) {
        let copy = self.sandbox().back_up().await.unwrap();
        self.sandbox().restore(&copy).await.unwrap();
    }

    /// The date where the clock stands.
    pub fn today(&self) -> String {
        self.sandbox().clock().now().strftime("%Y-%m-%d").to_string()
    }

    /// The clock moves, and what comes due is done.
    pub async fn hours(&self, hours: i64) {
        self.sandbox().advance(SignedDuration::from_hours(hours)).await.unwrap();
    }
}

/// A bill of one line.
pub fn bill(version: u32, amount: &str) -> Value {
    let amount: Value = serde_json::from_str(amount).unwrap();
    json!({
        "id": "bill-1", "accountId": "acme", "version": version, "currency": "USD", "startDate": "2025-06-01",
        "lineItems": [{"lineItemType": "USAGE", "currency": "USD", "convertedSubtotal": amount}],
    })
}

/// A port at which nobody listens.
pub fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// An HTTP server that answers each request at once, and closes the connection. Nothing to answer: it only closes it.
pub struct Server {
    pub address: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Every request alike.
    pub async fn answering(answer: &'static str) -> Server {
        Server::start(move |_| answer.to_owned()).await
    }

    /// Each request with the JSON of what is asked: a path below the organization, with its query.
    pub async fn serving(serve: impl Fn(&str) -> Value + Send + 'static) -> Server {
        Server::start(move |request| {
            // GET /organizations/ORG/PATH HTTP/1.1
            let target = request.split(' ').nth(1).unwrap_or_default();
            let body = serve(target.splitn(4, '/').nth(3).unwrap_or_default()).to_string();
            format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        })
        .await
    }

    async fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // What is asked fits in one read.
                let mut request = [0; 8_192];
                let read = stream.read(&mut request).await.unwrap_or_default();
                counter.fetch_add(usize::from(read > 0), Ordering::SeqCst);
                let answer = answer(&String::from_utf8_lossy(&request[..read]));
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Server { address, requests }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
