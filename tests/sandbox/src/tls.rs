//! TLS on loopback, for tests that need to see it: a certificate for `localhost`, and the authority that whoever connects has to trust.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use crate::seam::BuildError;

/// Takes connections as `localhost`.
pub struct Localhost {
    /// What takes them.
    pub acceptor: TlsAcceptor,
    /// The authority's certificate, in PEM: nobody else trusts it.
    pub authority: String,
}

impl Localhost {
    /// With a new key and a new authority.
    pub fn new() -> Result<Localhost, BuildError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &authority)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into()?)?;
        Ok(Localhost {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: authority.pem(),
        })
    }
}
