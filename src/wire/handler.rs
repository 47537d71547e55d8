//! What answers the requests of connections.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;

use super::{Body, BoxError, Peer};

/// What answers the requests of connections. A tower service would be cloned and made ready for each of them, and could be told of the
/// connection by an extension only.
pub trait Handler: Clone + Send + 'static {
    /// The body of its answers.
    type Body: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    /// An answer that is being made. Dropped, nobody wants it any more.
    type Future: Future<Output = Result<Response<Self::Body>, Infallible>> + Send + 'static;

    /// Answers a request that came from there.
    fn handle(&self, request: Request<Body>, peer: Arc<Peer>) -> Self::Future;
}

impl<H, A, B> Handler for H
where
    H: Fn(Request<Body>, Arc<Peer>) -> A + Clone + Send + 'static,
    A: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
    type Future = A;

    fn handle(&self, request: Request<Body>, peer: Arc<Peer>) -> A {
        self(request, peer)
    }
}
