//! HTTP requests to one API, and nothing else: no redirects, no cookies, no repeats.
//!
//! TLS is rustls on ring with the certificates that the system trusts. `HTTPS_PROXY` and `NO_PROXY` are followed for https.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;

/// API Gateway gives up on an answer after 30 seconds.
const ANSWER_SECONDS_MAX: u64 = 35;
const CONNECT_SECONDS_MAX: u64 = 10;
/// Lambda's largest answer is 6 MB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nothing was sent.
    NotSent(String),
    /// The request may have arrived.
    Lost(String),
}

impl NoAnswer {
    /// What the connection said.
    pub fn cause(&self) -> &str {
        match self {
            NoAnswer::NotSent(cause) | NoAnswer::Lost(cause) => cause,
        }
    }
}

/// A client of one API.
pub enum HttpClient {
    /// Straight to the API.
    Direct(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    /// Through a proxy.
    Proxied(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

impl HttpClient {
    /// A client for this API. Error: the system's certificates cannot be read; in words.
    pub fn new(api: &Uri) -> Result<HttpClient, String> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(Duration::from_secs(CONNECT_SECONDS_MAX)));
        let tls = || {
            HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
                .map(|builder| builder.https_or_http().enable_http1())
                .map_err(|error| format!("this system's certificates cannot be used: {error}"))
        };
        let is_https = api.scheme_str() == Some("https");
        let proxy = is_https.then(|| Matcher::from_env().intercept(api)).flatten();
        Ok(match proxy {
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                HttpClient::Proxied(Client::builder(TokioExecutor::new()).build(tls()?.wrap_connector(tunnel)))
            }
            None => HttpClient::Direct(Client::builder(TokioExecutor::new()).build(tls()?.wrap_connector(connector))),
        })
    }

    /// Sends a request once and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, NoAnswer> {
        let answer = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), self.exchange(request)).await;
        answer.unwrap_or_else(|_| Err(NoAnswer::Lost(format!("no answer within {ANSWER_SECONDS_MAX} seconds"))))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, NoAnswer> {
        let sent = match self {
            HttpClient::Direct(client) => client.request(request).await,
            HttpClient::Proxied(client) => client.request(request).await,
        };
        let answer = sent.map_err(|error| match error.is_connect() {
            true => NoAnswer::NotSent(chain(&error)),
            false => NoAnswer::Lost(chain(&error)),
        })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| NoAnswer::Lost(chain(error.as_ref())))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string);
    let mut said: Vec<String> = Vec::new();
    for cause in causes {
        if !said.iter().any(|known| known.contains(&cause)) {
            said.push(cause);
        }
    }
    said.join(": ")
}
