//! Outbill's API as the commands call it.
//!
//! What only reads is repeated where the answer may be well the next time. What changes something is sent once: whether to send it again is for
//! whoever sees what came of it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::{Failure, NO_ACCESS, NO_ANSWER, REFUSED};
use crate::http_client::{HttpClient, NoAnswer};
use crate::show;

/// Waits before a reading request is sent again.
const AGAIN_AFTER_MILLISECONDS: [u64; 2] = [300, 1_200];
/// Pages of one list; a list that never ends is a mistake.
const PAGES_MAX: usize = 10_000;

/// What a request does to what Outbill holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it can be sent again.
    Reads,
    /// Something: it is sent once.
    Changes,
}

/// A logged-in caller.
pub struct Api {
    http: HttpClient,
    base: String,
    authorization: String,
    log_in_again: String,
}

/// A page as the API gives it.
#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    #[serde(rename = "nextToken")]
    next: Option<String>,
}

/// Rows of a list.
pub struct Listed {
    /// Its rows, as they came.
    pub rows: Vec<Box<RawValue>>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Api {
    /// A caller of an organization's API. `log_in_again` says how, where the token is not taken.
    pub fn new(http: HttpClient, api: &str, organization: &str, token: &str, log_in_again: String) -> Api {
        Api {
            http,
            base: format!("{api}/organizations/{}", urlencoding::encode(organization)),
            authorization: format!("Bearer {token}"),
            log_in_again,
        }
    }

    /// Reads a JSON answer.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Box<RawValue>, Failure> {
        json(self.call(Method::GET, &with(path, query), None, Effect::Reads).await?)
    }

    /// Reads a page for people.
    pub async fn get_text(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Failure> {
        let body = self.call(Method::GET, &with(path, query), None, Effect::Reads).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sends a body and reads the JSON answer.
    pub async fn post(&self, path: &str, body: String, effect: Effect) -> Result<Box<RawValue>, Failure> {
        json(self.call(Method::POST, path, Some(body), effect).await?)
    }

    /// The first page of a list, and no more.
    pub async fn page(&self, path: &str, query: &[(&str, &str)]) -> Result<Listed, Failure> {
        let page = self.one_page(path, query, None).await?;
        Ok(Listed {
            rows: page.data,
            has_more: page.next.is_some(),
        })
    }

    /// The rows of a list, page after page, until there are `at_most` or no more.
    pub async fn rows(&self, path: &str, query: &[(&str, &str)], at_most: usize) -> Result<Listed, Failure> {
        let (mut rows, mut next) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.one_page(path, query, next.as_deref()).await?;
            rows.extend(page.data);
            next = page.next;
            if next.is_none() || rows.len() >= at_most {
                let has_more = next.is_some() || rows.len() > at_most;
                rows.truncate(at_most);
                return Ok(Listed { rows, has_more });
            }
        }
        Err(endless(path))
    }

    /// The rows of a list, page after page, up to the page with a row that lies behind all that is wanted, and at most `pages_max` of them: where
    /// that was the end, there are more.
    pub async fn rows_until(
        &self,
        path: &str,
        query: &[(&str, &str)],
        pages_max: usize,
        is_behind: impl Fn(&Value) -> bool,
    ) -> Result<Listed, Failure> {
        let (mut rows, mut next) = (Vec::new(), None::<String>);
        for _ in 0..pages_max {
            let page = self.one_page(path, query, next.as_deref()).await?;
            let is_last = page.data.iter().any(|row| is_behind(&show::read(row)));
            rows.extend(page.data);
            next = page.next;
            if is_last || next.is_none() {
                return Ok(Listed { rows, has_more: false });
            }
        }
        Ok(Listed { rows, has_more: true })
    }

    /// The first row of a list that `fits`, page after page. None: the list ends without one.
    pub async fn first(
        &self,
        path: &str,
        query: &[(&str, &str)],
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Option<Value>, Failure> {
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.one_page(path, query, next.as_deref()).await?;
            let found = page.data.iter().map(|row| show::read(row)).find(&fits);
            next = page.next;
            if found.is_some() || next.is_none() {
                return Ok(found);
            }
        }
        Err(endless(path))
    }

    async fn one_page(&self, path: &str, query: &[(&str, &str)], next: Option<&str>) -> Result<Page, Failure> {
        let mut query = query.to_vec();
        query.extend(next.map(|next| ("nextToken", next)));
        let body = self.call(Method::GET, &with(path, &query), None, Effect::Reads).await?;
        serde_json::from_slice(&body).map_err(|_| unreadable("no page of a list"))
    }

    async fn call(&self, method: Method, path: &str, body: Option<String>, effect: Effect) -> Result<Bytes, Failure> {
        let url = format!("{}/{path}", self.base);
        let request = || {
            let request = Request::builder()
                .method(method.clone())
                .uri(&url)
                .header(AUTHORIZATION, &self.authorization)
                .header(ACCEPT, "application/json")
                .header(CONTENT_TYPE, "application/json")
                .header(USER_AGENT, crate::USER_AGENT);
            request.body(Full::new(Bytes::from(body.clone().unwrap_or_default())))
        };
        let mut waits = AGAIN_AFTER_MILLISECONDS.iter();
        loop {
            let request = request().map_err(|error| Failure::misused(format!("{url} is no address: {error}"), ""))?;
            let answer = self.http.send(request).await;
            let may_be_well = match &answer {
                Ok(answer) => answer.status().is_server_error(),
                Err(_) => true,
            };
            match waits.next().filter(|_| may_be_well && effect == Effect::Reads) {
                Some(wait) => tokio::time::sleep(Duration::from_millis(*wait)).await,
                None => return self.body(answer, &method, &url, effect),
            }
        }
    }

    fn body(
        &self,
        answer: Result<Response<Bytes>, NoAnswer>,
        method: &Method,
        url: &str,
        effect: Effect,
    ) -> Result<Bytes, Failure> {
        let answer = answer.map_err(|why| no_answer(&why, method, url, effect))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let what = format!("the API answered {}: {}", status.as_u16(), message(&answer));
        let way_out = match (status, effect) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                return Err(Failure::new(NO_ACCESS, what, self.log_in_again.clone()));
            }
            (status, Effect::Changes) if status.is_server_error() => {
                format!("{method} {url}: whether it was done is not known; look before you repeat it")
            }
            _ => format!("{method} {url}"),
        };
        Err(Failure::new(REFUSED, what, way_out))
    }
}

/// Exchanges an access key for a token: the token, and the seconds that it lasts.
pub async fn token(http: &HttpClient, api: &str, id: &str, secret: &str) -> Result<(String, i64), Failure> {
    use base64::Engine;
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
        expires_in: i64,
    }
    let url = format!("{api}/oauth/token");
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
    let request = Request::builder()
        .method(Method::POST)
        .uri(&url)
        .header(AUTHORIZATION, format!("Basic {basic}"))
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, crate::USER_AGENT)
        .body(Full::new(Bytes::from_static(br#"{"grant_type":"client_credentials"}"#)));
    let request = request.map_err(|error| Failure::misused(format!("{url} is no address: {error}"), ""))?;
    let answer = http.send(request).await;
    let answer = answer.map_err(|why| no_answer(&why, &Method::POST, &url, Effect::Reads))?;
    let status = answer.status();
    if !status.is_success() {
        let what = format!("the API answered {}: {}", status.as_u16(), message(&answer));
        return Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::new(
                NO_ACCESS,
                what,
                "check the access key id and its secret; a deleted key gets no token, docs/access.md says how one is made",
            ),
            _ => Failure::new(REFUSED, what, format!("POST {url}")),
        });
    }
    let token: Token = serde_json::from_slice(answer.body()).map_err(|_| unreadable("no token"))?;
    Ok((token.access_token, token.expires_in))
}

fn no_answer(why: &NoAnswer, method: &Method, url: &str, effect: Effect) -> Failure {
    let what = format!("no answer from {url}: {}", why.cause());
    let way_out = match (why, effect) {
        (NoAnswer::Lost(_), Effect::Changes) => {
            format!("whether {method} was done is not known; look before you repeat it")
        }
        _ => "nothing was changed; check the address and the network".to_owned(),
    };
    Failure::new(NO_ANSWER, what, way_out)
}

/// The API's own words, or the beginning of what something else said in its place.
fn message(answer: &Response<Bytes>) -> String {
    const CHARACTERS_MAX: usize = 200;
    let own = serde_json::from_slice::<Value>(answer.body()).ok();
    let own = own.and_then(|body| Some(body.get("message")?.as_str()?.to_owned()));
    own.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(answer.body());
        let text: String = text.chars().take(CHARACTERS_MAX).collect();
        format!("{} (no answer of Outbill's; is the address right?)", text.trim())
    })
}

fn endless(path: &str) -> Failure {
    Failure::new(
        REFUSED,
        format!("the list {path} does not end within {PAGES_MAX} pages"),
        "narrow it with a filter",
    )
}

fn json(body: Bytes) -> Result<Box<RawValue>, Failure> {
    serde_json::from_slice(&body).map_err(|_| unreadable("no JSON"))
}

fn unreadable(what: &str) -> Failure {
    Failure::new(
        REFUSED,
        format!("the API's answer is {what}"),
        "check that --api is the address of Outbill's API",
    )
}

fn with(path: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", urlencoding::encode(value)))
        .collect();
    match pairs.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", pairs.join("&")),
    }
}
