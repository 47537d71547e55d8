//! The service inside: another hop on the way to an upstream, or a service of this program ([`Within`](super::Within)).

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Extensions, Request, Response};
use http_body::Body as HttpBody;
use tower::{Service, ServiceExt};

use crate::upstream::{Reuse, SendError};
use crate::wire::{Body, BoxError};

/// A service that carries a request out, or has it carried out; implemented by every tower service that sends it to an upstream.
pub trait Forward: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static;

    /// Whether it sends requests on over connections of its own: then what belongs to the client's connection ends here, and what a
    /// proxy says is said (RFC 9110, section 7.6). Otherwise messages pass as they are.
    const HOP: bool;

    /// Hands over one request. The future is boxed here, at the one seam between the two.
    fn forward(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Self::Body>, SendError>>;

    /// Asks something beside the requests.
    fn ask(
        &self,
        question: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Self::Body>, SendError>> {
        self.forward(question)
    }

    /// The other end of the connection that a request came by, where nobody else tells.
    fn peer(&self, _: &Extensions) -> Option<SocketAddr> {
        None
    }
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

    const HOP: bool = true;

    fn forward(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<B>, SendError>> {
        Box::pin(self.clone().oneshot(request))
    }
}
