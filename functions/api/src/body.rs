//! The body of a call: JSON whose every field is known and of its kind. All that is wrong is said at once.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use serde_json::{Map, Value};

use crate::{BODY_BYTES_MAX, call::Call, error::ApiError};

/// The most characters of a name, and of an id that is only kept: both are shown in lists.
const SHORT_CHARACTERS_MAX: usize = 200;

/// The body's bytes; 413 above the limit.
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Raw, ApiError> {
        let read = Bytes::from_request(request, state).await;
        read.map(Raw).map_err(|rejection| {
            if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                return ApiError::too_large(format!("the body is larger than {BODY_BYTES_MAX} bytes"));
            }
            ApiError::bad_request("the body could not be read to its end")
        })
    }
}

/// A JSON body that may be left out.
pub(crate) struct MaybeBody(pub(crate) Option<Value>);

impl<S: Send + Sync> FromRequest<S> for MaybeBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<MaybeBody, ApiError> {
        let content_type = request.headers().get(CONTENT_TYPE).cloned();
        let Raw(bytes) = Raw::from_request(request, state).await?;
        read_json(content_type.as_ref(), &bytes).map(MaybeBody)
    }
}

/// Reads a body as JSON; none if it is empty. Errors: another content type, or no JSON and where it ends to be it.
pub(crate) fn read_json(content_type: Option<&HeaderValue>, body: &[u8]) -> Result<Option<Value>, ApiError> {
    if body.is_empty() {
        return Ok(None);
    }
    check_content_type(content_type)?;
    serde_json::from_slice(body)
        .map(Some)
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
}

/// None is taken for JSON: it is all that this API reads.
fn check_content_type(given: Option<&HeaderValue>) -> Result<(), ApiError> {
    let Some(given) = given else { return Ok(()) };
    let text = given.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "content-type: {text:?} is not JSON; send the body as application/json"
    )))
}

/// A JSON body that has to be there.
pub(crate) struct Body(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body, ApiError> {
        let MaybeBody(body) = MaybeBody::from_request(request, state).await?;
        body.map(Body)
            .ok_or_else(|| ApiError::bad_request("the body is empty; give a JSON object"))
    }
}

/// The fields of a JSON object as they are read, with everything that was wrong so far.
pub(crate) struct Fields {
    given: Map<String, Value>,
    problems: Vec<String>,
}

impl Fields {
    /// Takes the body of a call. `known` are the fields that it may have; `orgId` may always be given and has to be the path's.
    pub(crate) fn of_call(call: &Call, body: Value, known: &[&str]) -> Result<Fields, ApiError> {
        let mut fields = Fields::of("", body, known, &["orgId"])?;
        if let Some(organization) = fields.text("orgId")
            && organization != call.organization.as_str()
        {
            fields.refuse(
                "orgId",
                "it has to be the organization of the path; correct it or leave it out",
            );
        }
        Ok(fields)
    }

    /// Takes an object within a body.
    pub(crate) fn of(what: &str, body: Value, known: &[&str], also: &[&str]) -> Result<Fields, ApiError> {
        let Value::Object(given) = body else {
            let what = if what.is_empty() { "the body" } else { what };
            return Err(ApiError::bad_request(format!("{what} has to be a JSON object")));
        };
        let mut fields = Fields {
            given,
            problems: Vec::new(),
        };
        let is_unknown = |name: &&String| !known.contains(&name.as_str()) && !also.contains(&name.as_str());
        let unknown: Vec<String> = fields.given.keys().filter(is_unknown).cloned().collect();
        for name in unknown {
            fields.refuse(
                &name,
                &format!(
                    "this field is unknown; leave it out. The known ones are {}",
                    known.join(", ")
                ),
            );
        }
        Ok(fields)
    }

    /// Notes that a field cannot be used, and the way out.
    pub(crate) fn refuse(&mut self, name: &str, problem: &str) {
        self.problems.push(format!("{name}: {problem}"));
    }

    /// Notes whatever is wrong with several settings of one field.
    pub(crate) fn note(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    /// A text that may be given; an empty one counts as none.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name) {
            None => None,
            Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
            Some(_) => {
                self.refuse(name, "give a text");
                None
            }
        }
    }

    /// A text that may be given, of at most 200 characters.
    pub(crate) fn short(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if text.chars().count() > SHORT_CHARACTERS_MAX {
            self.refuse(name, &format!("give at most {SHORT_CHARACTERS_MAX} characters"));
        }
        Some(text)
    }

    /// A text that has to be given; the empty one stands for it where it is not.
    pub(crate) fn required(&mut self, name: &str) -> String {
        let problems = self.problems.len();
        let text = self.text(name);
        if text.is_none() && self.problems.len() == problems {
            self.refuse(name, "it is missing; give a text");
        }
        text.unwrap_or_default()
    }

    /// A text read as what it means.
    pub(crate) fn parsed<T, E: ToString>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, &error.to_string());
                None
            }
        }
    }

    /// A yes or no that may be given.
    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.value(name) {
            None => None,
            Some(Value::Bool(flag)) => Some(*flag),
            Some(_) => {
                self.refuse(name, "give true or false");
                None
            }
        }
    }

    /// A JSON object that may be given. It is taken out, not copied, for a bill may have megabytes: a second look finds none.
    pub(crate) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.given.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => {
                self.refuse(name, "give an object");
                None
            }
        }
    }

    /// m3ter's rule for creation: there is no version yet.
    pub(crate) fn no_version(&mut self) {
        if self.value("version").is_some() {
            self.refuse("version", "leave it out when creating; it becomes 1");
        }
    }

    /// m3ter's rule for changes: the version that the caller has seen.
    pub(crate) fn version(&mut self) -> i64 {
        let version = self.value("version").and_then(Value::as_i64);
        if version.is_none() {
            self.refuse("version", "give the version that you have read, a whole number");
        }
        version.unwrap_or_default()
    }

    /// Ends reading, with everything that was wrong.
    pub(crate) fn problems(self) -> Vec<String> {
        self.problems
    }

    /// Ends reading. Errors: 400 with everything that was wrong.
    pub(crate) fn done(self) -> Result<(), ApiError> {
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(ApiError::bad_request(self.problems.join("; "))),
        }
    }
}

/// The answer to a change under a version that is not the stored one.
pub(crate) fn version_mismatch(given: i64, stored: i64) -> ApiError {
    ApiError::bad_request(format!(
        "version: {given} was given, but the stored version is {stored}; read it again and repeat the change"
    ))
}
