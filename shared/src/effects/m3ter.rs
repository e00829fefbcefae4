//! m3ter's API, as far as a bill's way needs it: a bill and an account by id, lists of bills and of external mappings.
//!
//! A 404 is an error here, never a deletion: wrong credentials look the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use base64::Engine;
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::secrets::{Secrets, name_part};
use super::table::StoreError;
use crate::values::ids::{AccountId, BillId, OrganizationId};

/// The API function has 29 seconds for all that it does, and bill-dispatch gives fetches 30 of its 120.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A token is renewed so long before it ends.
const TOKEN_MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// A bill of 10,000 lines has about ten megabytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

//= m3ter's OpenAPI document, ListBills
//# pageSize: maximum=100; minimum=1
const BILLS_PER_PAGE: usize = 100;
//= m3ter's OpenAPI document, ListExternalMappings
//# pageSize: maximum=200; minimum=1
/// The most external mappings that m3ter gives at once.
pub const MAPPINGS_PER_PAGE_MAX: usize = 200;

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    pub items: Vec<Map<String, Value>>,
    /// m3ter's token of the next page; none at the end.
    pub next: Option<String>,
}

/// Why m3ter did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum M3terError {
    /// Nobody told Outbill how to reach m3ter for this organization.
    #[error(
        "the secret {secret} does not hold m3ter's accessKeyId and apiSecret, so nothing can be fetched from m3ter; put them there"
    )]
    NoCredentials { secret: String },
    /// An answer that a repeat does not change.
    #[error("m3ter answered {status} for {what}: {message}")]
    Refused { what: String, status: u16, message: String },
    /// No answer, or one that says "later".
    #[error("m3ter did not answer for {what}: {message}")]
    Unavailable { what: String, message: String },
    #[error("m3ter's credentials could not be read")]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    access_key_id: String,
    api_secret: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: i64,
}

struct Token {
    bearer: String,
    ends_at: Timestamp,
}

/// One for each organization; whoever asks m3ter for it lets the others of the organization wait.
type Tokens = BTreeMap<OrganizationId, Arc<tokio::sync::Mutex<Option<Token>>>>;

/// The client. Clones share their connections and the tokens.
#[derive(Clone)]
pub struct M3ter {
    base_url: String,
    secrets: Secrets,
    http: SharedHttpConnector,
    tokens: Arc<Mutex<Tokens>>,
}

impl std::fmt::Debug for M3ter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("M3ter")
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl M3ter {
    pub fn new(base_url: &str, secrets: Secrets) -> M3ter {
        let http = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build();
        M3ter {
            base_url: base_url.trim_end_matches('/').to_owned(),
            secrets,
            http: SharedHttpConnector::new(http),
            tokens: Arc::default(),
        }
    }

    /// A bill with its line items.
    pub async fn bill(
        &self,
        organization: &OrganizationId,
        bill: &BillId,
        now: Timestamp,
    ) -> Result<Map<String, Value>, M3terError> {
        self.get(
            organization,
            &format!("bills/{}", urlencoding::encode(bill.as_str())),
            format!("bill {bill}"),
            now,
        )
        .await
    }

    /// An account.
    pub async fn account(
        &self,
        organization: &OrganizationId,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<Map<String, Value>, M3terError> {
        self.get(
            organization,
            &format!("accounts/{}", urlencoding::encode(account.as_str())),
            format!("account {account}"),
            now,
        )
        .await
    }

    /// A page of the bills dated `from` or later, newest first, without their line items.
    pub async fn bills(
        &self,
        organization: &OrganizationId,
        from: Date,
        next_token: Option<&str>,
        now: Timestamp,
    ) -> Result<Listed, M3terError> {
        let from = from.to_string();
        let query = [("billDateStart", from.as_str()), ("excludeLineItems", "true")];
        self.list(organization, ("bills", BILLS_PER_PAGE), &query, next_token, now)
            .await
    }

    /// A page of the external mappings of one system.
    pub async fn mappings(
        &self,
        organization: &OrganizationId,
        system: &str,
        size: usize,
        next_token: Option<&str>,
        now: Timestamp,
    ) -> Result<Listed, M3terError> {
        let query = [("externalSystemId", system)];
        self.list(organization, ("externalmappings", size), &query, next_token, now)
            .await
    }

    async fn list(
        &self,
        organization: &OrganizationId,
        (path, size): (&str, usize),
        query: &[(&str, &str)],
        next_token: Option<&str>,
        now: Timestamp,
    ) -> Result<Listed, M3terError> {
        let next_token = next_token.map(|token| ("nextToken", token));
        let parameters = query.iter().copied().chain(next_token);
        let parameters: String = parameters
            .map(|(name, value)| format!("&{name}={}", urlencoding::encode(value)))
            .collect();
        let what = format!("the list of {path}");
        let path = format!("{path}?pageSize={size}{parameters}");
        let mut answer = self.get(organization, &path, what.clone(), now).await?;
        let no_list = |what: String| M3terError::Unavailable {
            what,
            message: "the answer holds no list in data".to_owned(),
        };
        let Some(Value::Array(data)) = answer.remove("data") else {
            return Err(no_list(what));
        };
        let items: Option<Vec<_>> = data
            .into_iter()
            .map(|item| match item {
                Value::Object(item) => Some(item),
                _ => None,
            })
            .collect();
        let next = answer.get("nextToken").and_then(Value::as_str);
        Ok(Listed {
            items: items.ok_or_else(|| no_list(what))?,
            next: next.filter(|token| !token.is_empty()).map(str::to_owned),
        })
    }

    async fn get(
        &self,
        organization: &OrganizationId,
        path: &str,
        what: String,
        now: Timestamp,
    ) -> Result<Map<String, Value>, M3terError> {
        let url = format!(
            "{}/organizations/{}/{path}",
            self.base_url,
            urlencoding::encode(organization.as_str())
        );
        let get = async |bearer: &str| {
            let request = request("GET", &url, &format!("Bearer {bearer}"), None, &what)?;
            self.call(request, &what).await
        };
        let (bearer, is_new) = self.bearer(organization, None, now).await?;
        let answer = match get(&bearer).await {
            // The token ended early, because its key was exchanged or m3ter forgot it: once more, with another.
            Err(M3terError::Refused { status: 401 | 403, .. }) if !is_new => {
                let (another, _) = self.bearer(organization, Some(&bearer), now).await?;
                get(&another).await?
            }
            answer => answer?,
        };
        match answer {
            Value::Object(object) => Ok(object),
            _ => Err(M3terError::Unavailable {
                what,
                message: "the answer is no object".to_owned(),
            }),
        }
    }

    /// The organization's token, but not the one that m3ter refused; and whether it is new.
    async fn bearer(
        &self,
        organization: &OrganizationId,
        refused: Option<&str>,
        now: Timestamp,
    ) -> Result<(String, bool), M3terError> {
        let kept = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tokens.entry(organization.clone()).or_default())
        };
        let mut kept = kept.lock().await;
        let is_good = |token: &&Token| now < token.ends_at && refused != Some(token.bearer.as_str());
        if let Some(token) = kept.as_ref().filter(is_good) {
            return Ok((token.bearer.clone(), false));
        }
        let token = self.log_in(organization, now).await?;
        let bearer = token.bearer.clone();
        *kept = Some(token);
        Ok((bearer, true))
    }

    async fn log_in(&self, organization: &OrganizationId, now: Timestamp) -> Result<Token, M3terError> {
        let secret = format!("{}/m3ter", name_part(organization.as_str()));
        let missing = || M3terError::NoCredentials { secret: secret.clone() };
        let text = self.secrets.get(&secret).await?.ok_or_else(missing)?;
        let key: Key = serde_json::from_str(&text).map_err(|_| missing())?;
        let basic =
            base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", key.access_key_id, key.api_secret));
        let what = "a token".to_owned();
        let body = serde_json::json!({ "grant_type": "client_credentials" });
        let request = request(
            "POST",
            &format!("{}/oauth/token", self.base_url),
            &format!("Basic {basic}"),
            Some(&body),
            &what,
        )?;
        let answer = self.call(request, &what).await?;
        let answer: TokenAnswer = serde_json::from_value(answer).map_err(|_| M3terError::Unavailable {
            what,
            message: "the answer holds no token".to_owned(),
        })?;
        let ends_at = now
            .saturating_add(SignedDuration::from_secs(answer.expires_in))
            .unwrap_or(now);
        Ok(Token {
            bearer: answer.access_token,
            ends_at: ends_at.saturating_sub(TOKEN_MARGIN).unwrap_or(now),
        })
    }

    async fn call(&self, request: HttpRequest, what: &str) -> Result<Value, M3terError> {
        let unavailable = |message: String| M3terError::Unavailable {
            what: what.to_owned(),
            message,
        };
        let exchange = async {
            let mut response = self
                .http
                .call(request)
                .await
                .map_err(|error| unavailable(error.to_string()))?;
            let status = response.status().as_u16();
            let mut arriving = ByteStream::new(response.take_body());
            let mut body = Vec::new();
            while let Some(part) = arriving
                .try_next()
                .await
                .map_err(|error| unavailable(error.to_string()))?
            {
                body.extend_from_slice(&part);
                if body.len() > ANSWER_BYTES_MAX {
                    return Err(unavailable(format!(
                        "the answer has more than {ANSWER_BYTES_MAX} bytes"
                    )));
                }
            }
            Ok((status, body))
        };
        let (status, body) = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| unavailable("it took too long".to_owned()))??;
        let answer: Result<Value, _> = serde_json::from_slice(&body);
        match status {
            200..=299 => answer.map_err(|error| unavailable(error.to_string())),
            408 | 429 | 500.. => Err(unavailable(format!("HTTP {status}"))),
            _ => {
                let message = answer
                    .ok()
                    .and_then(|answer| answer.get("message").and_then(Value::as_str).map(str::to_owned));
                Err(M3terError::Refused {
                    what: what.to_owned(),
                    status,
                    message: message.unwrap_or_else(|| "no message".to_owned()),
                })
            }
        }
    }
}

fn request(
    method: &str,
    url: &str,
    authorization: &str,
    body: Option<&Value>,
    what: &str,
) -> Result<HttpRequest, M3terError> {
    let bad = |message: String| M3terError::Unavailable {
        what: what.to_owned(),
        message,
    };
    let mut request = HttpRequest::new(body.map_or_else(SdkBody::empty, |body| SdkBody::from(body.to_string())));
    request.set_method(method).map_err(|error| bad(error.to_string()))?;
    request.set_uri(url).map_err(|error| bad(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert("authorization", authorization.to_owned());
    headers.insert("accept", "application/json");
    if let Some(body) = body {
        headers.insert("content-type", "application/json");
        headers.insert("content-length", body.to_string().len().to_string());
    }
    Ok(request)
}
