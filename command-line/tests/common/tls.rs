//! TLS in front of an API, as API Gateway has it, with a certificate that only those trust who are told to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// The address, and the files of certificates: one that trusts it, one that does not.
pub struct Tls {
    pub address: String,
    pub trusted: String,
    pub untrusted: String,
    _folder: tempfile::TempDir,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Tls {
    pub async fn before(api: &str) -> Tls {
        let api: SocketAddr = api.trim_start_matches("http://").parse().unwrap();
        let (ours, other, key) = (authority(), authority(), KeyPair::generate().unwrap());
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ours).unwrap().der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.serialize_der().try_into().unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
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
            trusted: file("trusted.pem", ours.pem()),
            untrusted: file("untrusted.pem", other.pem()),
            _folder: folder,
        }
    }
}
