//! An HTTP/1.1 server that can also not answer: a response marked [`Lost`] closes the connection.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

/// Marks a response that must never reach the client.
#[derive(Debug, Clone, Copy)]
pub struct Lost;

/// A response that closes the connection instead of being sent.
pub fn lost() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Lost);
    response
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
struct LostError;

/// A running server; dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Serves a router on a listener until it is dropped.
    pub fn start(listener: TcpListener, address: SocketAddr, router: Router) -> Server {
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        // A connection that failed before it was accepted concerns nobody.
                        if let Ok((stream, _)) = accepted {
                            let _ = stream.set_nodelay(true);
                            connections.spawn(serve_connection(stream, router.clone()));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Server { address, accepting }
    }
}

async fn serve_connection(stream: tokio::net::TcpStream, router: Router) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let response = router
                .oneshot(request.map(Body::new))
                .await
                .unwrap_or_else(|never: Infallible| match never {});
            match response.extensions().get::<Lost>() {
                Some(Lost) => Err(LostError),
                None => Ok(response),
            }
        }
    });
    // The client went away, or the answer was lost on purpose: either way there is nothing to do.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
