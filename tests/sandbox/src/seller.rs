//! A seller's client of the API, as `curl` would speak it.

use outbill::effects::access::{Access, Permission};
use outbill::values::ids::OrganizationId;
use serde_json::{Value, json};

use crate::holdings::AccessKey;
use crate::seam::BuildError;

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer.
    #[error("no answer from {path}")]
    Http {
        /// Where it was asked.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is no success.
    #[error("{path} answered {status}: {body}")]
    Refused {
        /// Where it was asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        body: Value,
    },
}

/// A logged-in seller.
#[derive(Debug, Clone)]
pub struct Seller {
    http: reqwest::Client,
    api: String,
    organization: String,
    token: String,
}

impl Seller {
    /// Logs in with an access key.
    pub async fn log_in(api: &str, key: &AccessKey) -> Result<Seller, CallError> {
        let http = reqwest::Client::new();
        let request = http
            .post(format!("{api}/oauth/token"))
            .basic_auth(&key.access_key_id, Some(&key.api_secret));
        let answer = answer(
            "/oauth/token",
            request.json(&json!({ "grant_type": "client_credentials" })),
        )
        .await?;
        let token = answer
            .get("access_token")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Ok(Seller {
            http,
            api: api.to_owned(),
            organization: key.org_id.clone(),
            token,
        })
    }

    /// The organization.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// The token, for programs that make their own requests.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// One of another organization, which gets an access key.
    pub async fn of_another(api: &str, access: &Access, organization: &OrganizationId) -> Result<Seller, BuildError> {
        let key = AccessKey {
            org_id: organization.as_str().to_owned(),
            access_key_id: format!("key-of-{organization}"),
            api_secret: "secret".to_owned(),
        };
        access
            .keep_access_key(&key.access_key_id, &key.api_secret, organization, Permission::ALL)
            .await?;
        Ok(Seller::log_in(api, &key).await?)
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Value, CallError> {
        answer(path, self.http.get(self.url(path)).bearer_auth(&self.token)).await
    }

    /// Reads a page for people.
    pub async fn get_text(&self, path: &str) -> Result<String, CallError> {
        let failed = |source| CallError::Http {
            path: path.to_owned(),
            source,
        };
        let request = self.http.get(self.url(path)).bearer_auth(&self.token);
        let response = request
            .send()
            .await
            .map_err(failed)?
            .error_for_status()
            .map_err(failed)?;
        response.text().await.map_err(failed)
    }

    /// Creates, or does.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        answer(path, self.http.post(self.url(path)).bearer_auth(&self.token).json(body)).await
    }

    /// Changes.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        answer(path, self.http.put(self.url(path)).bearer_auth(&self.token).json(body)).await
    }

    /// Takes away.
    pub async fn delete(&self, path: &str) -> Result<Value, CallError> {
        answer(path, self.http.delete(self.url(path)).bearer_auth(&self.token)).await
    }

    /// Notifies of an event as m3ter does: without a token, with a key in the header.
    pub async fn notify(&self, key: &str, event: &Value) -> Result<Value, CallError> {
        let path = "m3ter/events";
        answer(
            path,
            self.http.post(self.url(path)).header("x-outbill-key", key).json(event),
        )
        .await
    }

    /// The same with the key in the path, as m3ter's webhook destinations can.
    pub async fn notify_by_path(&self, key: &str, event: &Value) -> Result<Value, CallError> {
        let path = format!("m3ter/events/{key}");
        answer(&path, self.http.post(self.url(&path)).json(event)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/organizations/{}/{path}", self.api, self.organization)
    }
}

async fn answer(path: &str, request: reqwest::RequestBuilder) -> Result<Value, CallError> {
    let failed = |source| CallError::Http {
        path: path.to_owned(),
        source,
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let body: Value = response.json().await.map_err(failed)?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(CallError::Refused {
            path: path.to_owned(),
            status: status.as_u16(),
            body,
        })
    }
}
