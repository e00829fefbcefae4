//! The wire between the workers and AWS, in memory: a request waits here until the [`crate::stage`] decides what becomes of it.
//!
//! It is plugged in beneath the SDK as its HTTP client, so that all above it is the code that runs in AWS. A worker that is gone leaves its
//! requests behind: they may still arrive, as they may on a real wire.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use futures::channel::oneshot;
use http::request::Parts;

/// Who asks: a worker by its place, and last of all the seller's API.
pub type Caller = usize;

/// What the wire brings back.
#[derive(Debug)]
pub enum Reply {
    /// AWS's answer.
    Answer(http::Response<Vec<u8>>),
    /// The connection closed.
    Lost,
}

/// A request that nobody has decided on yet.
#[derive(Debug)]
pub struct Waiting {
    /// Counts the requests of a history.
    pub number: u64,
    /// Who asks.
    pub caller: Caller,
    /// Head of the request.
    pub parts: Parts,
    /// Its body.
    pub body: Vec<u8>,
    /// It was counted among the requests of its round before it was slowed down.
    pub counted: bool,
    reply: oneshot::Sender<Reply>,
}

impl Waiting {
    /// Answers. False: nobody waits for it any more.
    pub fn reply(self, reply: Reply) -> bool {
        self.reply.send(reply).is_ok()
    }

    /// Whether its worker still waits for the answer.
    pub fn is_awaited(&self) -> bool {
        !self.reply.is_canceled()
    }
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<Waiting>,
    asked: u64,
}

/// All requests that wait.
#[derive(Debug, Clone, Default)]
pub struct Network(Arc<Mutex<Inner>>);

impl Network {
    /// The HTTP client of one caller.
    pub fn line(&self, caller: Caller) -> Line {
        Line {
            network: self.clone(),
            caller,
        }
    }

    /// Looks at what waits, oldest first.
    pub fn look<T>(&self, look: impl FnOnce(&[Waiting]) -> T) -> T {
        look(&self.lock().waiting)
    }

    /// Whether anything waits.
    pub fn is_quiet(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Takes the request at a place.
    pub fn take(&self, place: usize) -> Waiting {
        self.lock().waiting.remove(place)
    }

    /// Puts a request back that is still on its way.
    pub fn put_back(&self, waiting: Waiting) {
        self.lock().waiting.push(waiting);
    }

    /// Forgets the requests of a caller that is gone.
    pub fn forget(&self, caller: Caller) {
        self.lock().waiting.retain(|waiting| waiting.caller != caller);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's HTTP client.
#[derive(Debug, Clone)]
pub struct Line {
    network: Network,
    caller: Caller,
}

impl HttpClient for Line {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Ok(request) = request.try_into_http1x() else {
            return HttpConnectorFuture::ready(Err(ConnectorError::user("this is no HTTP request".into())));
        };
        let (parts, body) = request.into_parts();
        let body = body.bytes().unwrap_or_default().to_vec();
        let (reply, replied) = oneshot::channel();
        let mut inner = self.network.lock();
        inner.asked += 1;
        let number = inner.asked;
        inner.waiting.push(Waiting {
            number,
            caller: self.caller,
            parts,
            body,
            counted: false,
            reply,
        });
        drop(inner);
        HttpConnectorFuture::new(async move {
            match replied.await {
                Ok(Reply::Answer(answer)) => HttpResponse::try_from(answer.map(SdkBody::from))
                    .map_err(|error| ConnectorError::other(error.into(), None)),
                Ok(Reply::Lost) | Err(oneshot::Canceled) => {
                    Err(ConnectorError::io("the connection was closed before the answer".into()))
                }
            }
        })
    }
}
