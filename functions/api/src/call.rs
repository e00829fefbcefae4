//! Who calls, when, and for which organization: found out once, before any handler.

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use outbill::{
    Outbill,
    effects::access::{Caller, Permission},
    values::ids::OrganizationId,
};
use tracing::Instrument;

use crate::{App, error::ApiError};

/// A call that has a valid token of the organization in its path.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) outbill: Outbill,
    pub(crate) now: Timestamp,
    pub(crate) organization: OrganizationId,
    /// The access key's id: who made or changed something.
    pub(crate) by: String,
    permissions: Vec<Permission>,
}

impl Call {
    /// Refuses a caller without `permission`.
    pub(crate) fn needs(&self, permission: Permission) -> Result<(), ApiError> {
        if self.permissions.contains(&permission) {
            return Ok(());
        }
        let name = serde_json::to_value(permission).unwrap_or_default();
        let name = name.as_str().unwrap_or_default();
        Err(ApiError::forbidden(format!(
            "this access key lacks the permission {name}"
        )))
    }
}

/// Names the call in each line of the log: its route as the router has it, never its path, which may end in a key. At the level of errors, so that
/// no filter leaves it out.
pub(crate) async fn named(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str);
    let span = tracing::error_span!("call", method = %request.method(), route);
    next.run(request).instrument(span).await
}

/// Refuses a path that no handler could read.
pub(crate) async fn readable(request: Request, next: Next) -> Result<Response, ApiError> {
    match urlencoding::decode(request.uri().path()) {
        Ok(_) => Ok(next.run(request).await),
        Err(_) => Err(ApiError::bad_request("the path is not UTF-8")),
    }
}

/// Lets a call through to its handler if its token is good for its path.
pub(crate) async fn authorize(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let path = request.uri().path();
    let header = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let token = bearer(header).ok_or_else(|| ApiError::forbidden("give a token: Authorization: Bearer …"))?;
    let now = (app.clock)();
    let Caller {
        access_key_id,
        organization,
        permissions,
    } = app.outbill.access.verify(token, now).await?;
    if let Some(asked) = organization_in(path)
        && asked != organization.as_str()
    {
        return Err(ApiError::forbidden("the token is not one of this organization"));
    }
    let call = Call {
        outbill: app.outbill,
        now,
        organization,
        by: access_key_id,
        permissions,
    };
    request.extensions_mut().insert(call);
    Ok(next.run(request).await)
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn organization_in(path: &str) -> Option<String> {
    let segment = path.strip_prefix("/organizations/")?.split('/').next()?;
    // What cannot be decoded is no organization of anyone's.
    Some(urlencoding::decode(segment).map_or_else(|_| segment.to_owned(), |decoded| decoded.into_owned()))
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Call, ApiError> {
        let call = parts.extensions.get::<Call>().cloned();
        call.ok_or_else(|| ApiError::forbidden("give a token: Authorization: Bearer …"))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use axum::{Router, body::Body, middleware, routing};
    use tower::ServiceExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_line_of_the_log_names_the_route_and_not_the_path() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone());
        let _listening = tracing::subscriber::set_default(subscriber.finish());
        let fails = || async { tracing::error!("It failed.") };
        let router: Router = Router::new()
            .route("/organizations/{orgId}/m3ter/events/{key}", routing::post(fails))
            .fallback(fails)
            .layer(middleware::from_fn(named));
        for path in ["/organizations/o1/m3ter/events/hush", "/nowhere/hush"] {
            let request = Request::post(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap();
        }
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        for call in [
            r#""method":"POST","route":"/organizations/{orgId}/m3ter/events/{key}""#,
            r#""method":"POST","route":"none""#,
        ] {
            assert!(log.contains(call), "{log}");
        }
        assert!(!log.contains("hush"), "{log}");
    }
}
