//! All AWS services behind one address, told apart by target, path or form.
//!
//! A request goes through the same gate whatever the service: it is counted, it waits if latency
//! is on, a function that may not ask is denied, a fault may take it, and only then the stand-in answers.

mod checksums;
mod cloudtrail;
mod dynamodb;
mod identity;
mod metering;
mod needs;
mod quota;
mod secretsmanager;
mod ses;
mod sqs;
mod sts;
mod tokens;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, DATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;

pub use checksums::{md5_of_attributes, md5_of_text};
pub use dynamodb::{Engine, EngineClient, EngineError};
pub use identity::{Caller, HOME_ACCOUNT};
pub use metering::Thoroughness;
pub use quota::Quota;
pub use sqs::{MESSAGE_BYTES_MAX, check_size, queue_arn, queue_url, system_attributes};
pub use wire::WireError;

use crate::authorization::{Authorization, Function};
use crate::consumption::{self, Consumption};
use crate::faults::{FaultKind, Faults, Service};
use crate::m3ter::{self, Wanted};
use crate::requests::Requests;
use crate::serve::lost;
use crate::world::World;
use wire::{Protocol, json_response};

/// The largest request body that is read: DynamoDB's limit, the largest of all.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether answers take as long as AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// At once.
    None,
    /// About as AWS.
    LikeAws,
    /// So long.
    Of {
        dynamodb: Duration,
        metering: Duration,
        others: Duration,
    },
}

impl Latency {
    fn of(self, service: Service) -> Option<Duration> {
        let latency = match (self, service) {
            (Latency::None, _) => return None,
            (Latency::LikeAws, service) => latency_of(service),
            (Latency::Of { dynamodb, .. }, Service::DynamoDb) => dynamodb,
            (Latency::Of { metering, .. }, Service::Metering) => metering,
            (Latency::Of { others, .. }, _) => others,
        };
        // A timer of no time takes a millisecond.
        Some(latency).filter(|latency| !latency.is_zero())
    }
}

/// What the stand-ins share.
#[derive(Debug)]
pub struct Aws {
    /// What they hold.
    pub world: Arc<World>,
    /// What fails.
    pub faults: Arc<Faults>,
    /// What was called.
    pub requests: Arc<Requests>,
    /// What DynamoDB consumes.
    pub consumption: Arc<Consumption>,
    /// Who may do what.
    pub authorization: Arc<Authorization>,
    /// DynamoDB.
    pub engine: EngineClient,
    /// The address of all stand-ins, for queue URLs.
    pub own_url: String,
    /// How long answers take.
    pub latency: Latency,
    /// How many metering calls a second are taken.
    pub metering_quota: Option<Quota>,
}

/// The stand-ins as a router.
pub fn router(aws: Aws) -> Router {
    Router::new().fallback(handle).with_state(Arc::new(aws))
}

/// A request, as far as it decides who answers.
#[derive(Debug)]
pub enum Asked {
    DynamoDb(String),
    Metering(String),
    CloudTrail(String),
    Sqs(String),
    SecretsManager(String),
    Sts(String, BTreeMap<String, String>),
    Ses,
    M3ter(Wanted),
}

impl Asked {
    /// Reads it off a request; none: the sandbox stands in for no such service.
    pub fn of(parts: &Parts, body: &[u8]) -> Option<Asked> {
        let path = parts.uri.path();
        if let Some(rest) = path.strip_prefix("/m3ter/") {
            return Some(Asked::M3ter(Wanted::from_path(
                &parts.method,
                rest,
                parts.uri.query().unwrap_or_default(),
            )));
        }
        if path == "/v2/email/outbound-emails" {
            return Some(Asked::Ses);
        }
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some((service, action)) = header("x-amz-target").and_then(|all| all.split_once('.')) {
            let action = action.to_owned();
            return match service {
                "AWSMPMeteringService" => Some(Asked::Metering(action)),
                "CloudTrail_20131101" => Some(Asked::CloudTrail(action)),
                "AmazonSQS" => Some(Asked::Sqs(action)),
                "secretsmanager" => Some(Asked::SecretsManager(action)),
                service if service.starts_with("DynamoDB") => Some(Asked::DynamoDb(action)),
                _ => None,
            };
        }
        let is_form =
            header(CONTENT_TYPE.as_str()).is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let fields = is_form.then(|| form_fields(body))?;
        let action = fields.get("Action")?.clone();
        Some(Asked::Sts(action, fields))
    }

    /// Whose request it is.
    pub fn service(&self) -> Service {
        match self {
            Asked::DynamoDb(_) => Service::DynamoDb,
            Asked::Metering(_) => Service::Metering,
            Asked::CloudTrail(_) => Service::CloudTrail,
            Asked::Sqs(_) => Service::Sqs,
            Asked::SecretsManager(_) => Service::SecretsManager,
            Asked::Sts(..) => Service::Sts,
            Asked::Ses => Service::Ses,
            Asked::M3ter(_) => Service::M3ter,
        }
    }

    /// What is asked of the service.
    pub fn action(&self) -> &str {
        match self {
            Asked::DynamoDb(action)
            | Asked::Metering(action)
            | Asked::CloudTrail(action)
            | Asked::Sqs(action)
            | Asked::SecretsManager(action)
            | Asked::Sts(action, _) => action,
            Asked::Ses => "SendEmail",
            Asked::M3ter(wanted) => wanted.action(),
        }
    }
}

fn form_fields(body: &[u8]) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        urlencoding::decode(&spaced).map_or(spaced.clone(), |decoded| decoded.into_owned())
    };
    String::from_utf8_lossy(body)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

async fn handle(State(aws): State<Arc<Aws>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => answer(&aws, &parts, body).await,
        Err(error) => WireError {
            status: 413,
            code: "RequestEntityTooLargeException".to_owned(),
            message: error.to_string(),
        }
        .response(Protocol::Json11),
    };
    date(&mut response, aws.world.now());
    response
}

/// Writes AWS's clock onto an answer.
pub fn date(response: &mut Response, now: Timestamp) {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(DATE, date);
    }
}

async fn answer(aws: &Aws, parts: &Parts, body: Bytes) -> Response {
    let Some(asked) = Asked::of(parts, &body) else {
        return WireError::caller(
            "UnknownOperationException",
            "the sandbox stands in for DynamoDB, Marketplace metering, CloudTrail, SQS, Secrets Manager, STS, SES and m3ter; this request is for none of them",
        )
        .response(Protocol::Json11);
    };
    let service = asked.service();
    aws.requests.count(service.as_str(), asked.action());
    if let Some(latency) = aws.latency.of(service) {
        tokio::time::sleep(latency).await;
    }
    if let Some(denied) = denied(aws, &asked, parts, &body) {
        return denied;
    }
    if service == Service::Metering && aws.metering_quota.as_ref().is_some_and(|quota| !quota.takes()) {
        return refusal(service, Refused::Throttled, &body);
    }
    match aws.faults.hit(service, asked.action()) {
        None => effect(aws, &asked, parts, body, Thoroughness::Whole).await,
        Some(FaultKind::Unprocessed) => effect(aws, &asked, parts, body, Thoroughness::Partial).await,
        Some(FaultKind::LostRequest) => lost(),
        Some(FaultKind::LostAnswer) => {
            effect(aws, &asked, parts, body, Thoroughness::Whole).await;
            lost()
        }
        Some(
            kind @ (FaultKind::QueryFailed
            | FaultKind::QueryTimedOut
            | FaultKind::QueryCancelled
            | FaultKind::Expired
            | FaultKind::TooManyQueries),
        ) => cloudtrail::fault(kind, asked.action()),
        Some(FaultKind::Conflict) => refusal(service, Refused::Conflict, &body),
        Some(FaultKind::Throttle) => refusal(service, Refused::Throttled, &body),
        Some(FaultKind::Error) => refusal(service, Refused::InternalError, &body),
        Some(FaultKind::UnmodelledError) => refusal(service, Refused::UnmodelledError, &body),
        Some(FaultKind::AccessDenied) => refusal(service, Refused::AccessDenied, &body),
    }
}

/// Denies what the policies of the function that asks do not allow, in the words of IAM.
fn denied(aws: &Aws, asked: &Asked, parts: &Parts, body: &[u8]) -> Option<Response> {
    let caller = Caller::from_headers(&parts.headers)?;
    let function = Function::of(&caller.access_key_id)?;
    let needs = needs::needs(&aws.world, asked, &caller, body);
    let denial = aws.authorization.judge(function, &needs).err()?;
    let service = asked.service();
    Some(fault(service, 400, denied_code(service), &denial.to_string()))
}

/// How a service answers without doing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As throttled.
    Throttled,
    /// As an error of its own.
    InternalError,
    /// As an error that its model does not have.
    UnmodelledError,
    /// As access denied.
    AccessDenied,
    /// As a transaction that another one is in the way of.
    Conflict,
}

/// The answer of a service that does nothing.
pub fn refusal(service: Service, refused: Refused, body: &[u8]) -> Response {
    match refused {
        Refused::Throttled => fault(service, 400, throttle_code(service), "Rate exceeded"),
        Refused::InternalError => fault(service, 500, error_code(service), "a fault was asked for"),
        Refused::UnmodelledError => fault(service, 503, "CapacityShedException", "a fault was asked for"),
        Refused::AccessDenied => fault(service, 400, denied_code(service), "a fault was asked for"),
        Refused::Conflict => dynamodb::conflict(body),
    }
}

async fn effect(aws: &Aws, asked: &Asked, parts: &Parts, body: Bytes, thoroughness: Thoroughness) -> Response {
    match asked {
        Asked::DynamoDb(action) if aws.consumption.is_on() && consumption::is_on_items(action) => {
            let asking = consumption::asking(&body);
            let (head, answer) = aws.engine.forward(&parts.headers, asking).await.into_parts();
            match to_bytes(answer, BODY_BYTES_MAX).await {
                Ok(answer) => {
                    aws.consumption.note(action, &body, head.status.is_success(), &answer);
                    Response::from_parts(head, Body::from(answer))
                }
                Err(_) => lost(),
            }
        }
        Asked::DynamoDb(action) if action.ends_with("Table") => {
            let now = aws.world.now();
            aws.engine.forward_of_table(action, &parts.headers, body, now).await
        }
        Asked::DynamoDb(_) => aws.engine.forward(&parts.headers, body).await,
        _ => stand_in(&aws.world, &aws.own_url, asked, parts, &body, thoroughness),
    }
}

/// The answer of every service but DynamoDB, whose engine is not part of the world.
pub fn stand_in(
    world: &World,
    own_url: &str,
    asked: &Asked,
    parts: &Parts,
    body: &[u8],
    thoroughness: Thoroughness,
) -> Response {
    let protocol = protocol_of(asked.service());
    let caller = Caller::from_headers(&parts.headers);
    let answered: Result<Value, WireError> = match asked {
        Asked::DynamoDb(action) => Err(WireError::caller(
            "UnknownOperationException",
            format!("{action} is for the database engine"),
        )),
        Asked::M3ter(wanted) => return m3ter::answer(world, wanted, &parts.headers),
        Asked::Sts(action, fields) => {
            return sts::answer(world, action, fields, caller.as_ref())
                .unwrap_or_else(|error| error.response(protocol));
        }
        Asked::Metering(action) => metering::answer(world, action, caller.as_ref(), body, thoroughness),
        Asked::CloudTrail(action) => cloudtrail::answer(world, action, caller.as_ref(), body),
        Asked::Sqs(action) => sqs::answer(world, action, body, own_url),
        Asked::SecretsManager(action) => secretsmanager::answer(world, action, body),
        Asked::Ses => ses::answer(world, body),
    };
    match answered {
        Ok(body) => json_response(protocol, StatusCode::OK, &body),
        Err(error) => error.response(protocol),
    }
}

fn protocol_of(service: Service) -> Protocol {
    match service {
        Service::DynamoDb => Protocol::Json10,
        Service::Sqs => Protocol::Json10QueryCompatible,
        Service::Metering | Service::SecretsManager | Service::CloudTrail => Protocol::Json11,
        Service::Sts => Protocol::Query,
        Service::Ses | Service::M3ter => Protocol::RestJson,
    }
}

fn fault(service: Service, status: u16, code: &str, message: &str) -> Response {
    let status = match (service, code) {
        (Service::M3ter | Service::Ses, "TooManyRequestsException") => 429,
        (Service::M3ter | Service::Sts, _) if code.starts_with("AccessDenied") => 403,
        _ => status,
    };
    WireError {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
    }
    .response(protocol_of(service))
}

fn throttle_code(service: Service) -> &'static str {
    match service {
        Service::Metering | Service::SecretsManager | Service::CloudTrail => "ThrottlingException",
        Service::DynamoDb => "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        Service::Sqs => "RequestThrottled",
        Service::Sts => "Throttling",
        Service::Ses | Service::M3ter => "TooManyRequestsException",
    }
}

fn error_code(service: Service) -> &'static str {
    match service {
        Service::Metering => "InternalServiceErrorException",
        Service::DynamoDb => "com.amazonaws.dynamodb.v20120810#InternalServerError",
        Service::SecretsManager => "InternalServiceError",
        Service::Sqs | Service::Sts | Service::Ses | Service::M3ter | Service::CloudTrail => "InternalFailure",
    }
}

fn denied_code(service: Service) -> &'static str {
    match service {
        Service::Sts => "AccessDenied",
        Service::Metering
        | Service::DynamoDb
        | Service::Sqs
        | Service::SecretsManager
        | Service::Ses
        | Service::M3ter
        | Service::CloudTrail => "AccessDeniedException",
    }
}

// Round numbers of the order that callers in the same region see.
fn latency_of(service: Service) -> Duration {
    Duration::from_millis(match service {
        Service::DynamoDb => 5,
        Service::Sqs => 10,
        Service::SecretsManager => 15,
        Service::Sts => 40,
        Service::Ses => 60,
        Service::Metering => 150,
        Service::M3ter => 100,
        Service::CloudTrail => 120,
    })
}
