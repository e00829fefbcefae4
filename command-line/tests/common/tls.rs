//! TLS in front of an API, as API Gateway has it, with a certificate that only those trust who are told to.

use std::net::SocketAddr;
use std::path::PathBuf;

use sandbox::tls::Localhost;
use tokio::net::{TcpListener, TcpStream};

/// The address, and the files of certificates: one that trusts it, one that does not.
pub struct Tls {
    pub address: String,
    pub trusted: String,
    pub untrusted: String,
    _folder: tempfile::TempDir,
}

impl Tls {
    pub async fn before(api: &str) -> Tls {
        let api: SocketAddr = api.trim_start_matches("http://").parse().unwrap();
        let (ours, other) = (Localhost::new().unwrap(), Localhost::new().unwrap());
        let acceptor = ours.acceptor;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust the certificate goes away in the middle.
                    if let Ok(mut client) = acceptor.accept(stream).await {
                        let mut api = TcpStream::connect(api).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut api).await;
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, pem: String| {
            let path: PathBuf = folder.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Tls {
            address,
            trusted: file("trusted.pem", ours.authority),
            untrusted: file("untrusted.pem", other.authority),
            _folder: folder,
        }
    }
}
