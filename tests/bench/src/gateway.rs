//! AWS's side of TLS: one address of loopback for each service, which passes what it is asked on to the sandbox.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use sandbox::tls::Localhost;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The services, as the SDK's variables for their addresses name them.
const SERVICES: [&str; 7] = [
    "CLOUDTRAIL",
    "DYNAMODB",
    "MARKETPLACE_METERING",
    "SECRETS_MANAGER",
    "SESV2",
    "SQS",
    "STS",
];
/// Where Linux distributions keep the certificates that they trust: a function reads as many as it would on Lambda.
const TRUSTED: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
const BYTES_AT_ONCE: usize = 16 * 1024;

/// What the addresses saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub connections: usize,
    /// From the arrival of a connection until its handshake was done, all connections together.
    pub handshakes: Duration,
    pub requests: usize,
    /// How long at least one answer of the sandbox was waited for.
    pub waited: Duration,
    /// Answers that are waited for, and since when there are any.
    waiting: usize,
    since: Option<Instant>,
}

impl Seen {
    fn asked(&mut self) {
        self.requests += 1;
        self.waiting += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    fn answered(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0
            && let Some(since) = self.since.take()
        {
            self.waited += since.elapsed();
        }
    }
}

/// The addresses; they listen as long as the program runs.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<(String, String)>,
    trusted: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

impl Gateway {
    /// Listens before `sandbox`, the address of its stand-ins. The certificates to trust go into a file of `folder`.
    pub async fn start(sandbox: &str, folder: &Path) -> anyhow::Result<Gateway> {
        let sandbox: SocketAddr = sandbox.trim_start_matches("http://").parse()?;
        let tls = Localhost::new().map_err(anyhow::Error::from_boxed)?;
        let system = TRUSTED.iter().find_map(|file| std::fs::read_to_string(file).ok());
        let trusted = folder.join("trusted.pem");
        std::fs::write(&trusted, system.unwrap_or_default() + &tls.authority)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut addresses = Vec::new();
        for service in SERVICES {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = format!("https://localhost:{}", listener.local_addr()?.port());
            addresses.push((format!("AWS_ENDPOINT_URL_{service}"), address));
            tokio::spawn(listen(listener, tls.acceptor.clone(), sandbox, seen.clone()));
        }
        Ok(Gateway {
            addresses,
            trusted,
            seen,
        })
    }

    /// What a function's environment says of it.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let trusted = self.trusted.to_str().map(|path| ("SSL_CERT_FILE", path));
        let addresses = self.addresses.iter();
        addresses
            .map(|(name, url)| (name.as_str(), url.as_str()))
            .chain(trusted)
    }

    /// What was seen since the last look.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, sandbox: SocketAddr, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        tokio::spawn(async move {
            // A function that ends leaves its connections in the middle.
            let _ = relay(stream, acceptor, sandbox, &seen).await;
        });
    }
}

/// Passes on both ways, one request after the other, as HTTP/1.1 has them.
async fn relay(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    sandbox: SocketAddr,
    seen: &Mutex<Seen>,
) -> anyhow::Result<()> {
    let accepted = Instant::now();
    stream.set_nodelay(true)?;
    let mut function = acceptor.accept(stream).await.context("a handshake")?;
    note(seen, |seen| {
        seen.connections += 1;
        seen.handshakes += accepted.elapsed();
    });
    let mut sandbox = TcpStream::connect(sandbox).await?;
    sandbox.set_nodelay(true)?;
    let (mut asked, mut answered) = (vec![0; BYTES_AT_ONCE], vec![0; BYTES_AT_ONCE]);
    let mut waits = false;
    loop {
        tokio::select! {
            count = function.read(&mut asked) => {
                let count = count?;
                let bytes = asked.get(..count).filter(|bytes| !bytes.is_empty()).context("the function is done")?;
                if !std::mem::replace(&mut waits, true) {
                    note(seen, Seen::asked);
                }
                sandbox.write_all(bytes).await?;
            }
            count = sandbox.read(&mut answered) => {
                let count = count?;
                let bytes = answered.get(..count).filter(|bytes| !bytes.is_empty()).context("the sandbox is done")?;
                if std::mem::take(&mut waits) {
                    note(seen, Seen::answered);
                }
                function.write_all(bytes).await?;
                function.flush().await?;
            }
        }
    }
}

fn note(seen: &Mutex<Seen>, what: impl FnOnce(&mut Seen)) {
    what(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
}
