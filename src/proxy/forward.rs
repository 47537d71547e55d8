//! The service inside: it takes a request to an upstream.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower::{Service, ServiceExt};

use crate::upstream::{Reuse, SendError};
use crate::wire::{Body, BoxError};

/// A service that takes a request to an upstream; implemented by every tower service of this shape.
pub trait Forward: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static;

    /// Takes one request to an upstream. The future is boxed here, at the one seam between the two.
    fn forward(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Self::Body>, SendError>>;
}

/// Where a forwarded request goes; an extension of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Index of the upstream.
    pub upstream: usize,
    /// Which pooled connections it may take.
    pub reuse: Reuse,
}

impl<F, B> Forward for F
where
    F: Service<Request<Body>, Response = Response<B>, Error = SendError>,
    F: Clone + Send + Sync + 'static,
    F::Future: Send + 'static,
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    type Body = B;

    fn forward(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<B>, SendError>> {
        Box::pin(self.clone().oneshot(request))
    }
}
