//! The service inside: another hop on the way to an upstream, or a service of this program ([`Within`](super::Within)).

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Extensions, Request, Response};
use http_body::Body as HttpBody;

use crate::upstream::{Gate, ResponseBody, Reuse, SendError, Upstream};
use crate::wire::{Body, BoxError};

/// A service that carries a request out, or has it carried out.
pub trait Forward: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static;

    /// Whether it sends requests on over connections of its own: then what belongs to the client's connection ends here, and what a
    /// proxy says is said (RFC 9110, section 7.6). Otherwise messages pass as they are.
    const HOP: bool;

    /// Hands over one request. The future is boxed here, at the one seam between the two.
    fn forward<'a>(
        &'a self,
        request: Request<Body>,
        way: Way<'a>,
    ) -> BoxFuture<'a, Result<Response<Self::Body>, SendError>>;

    /// Asks something beside the requests.
    fn ask<'a>(
        &'a self,
        question: Request<Body>,
        way: Way<'a>,
    ) -> BoxFuture<'a, Result<Response<Self::Body>, SendError>> {
        self.forward(question, way)
    }

    /// The other end of the connection that a request came by, where nobody else tells.
    fn peer(&self, _: &Extensions) -> Option<SocketAddr> {
        None
    }
}

/// Where a request goes, and on which terms.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// Index of the upstream.
    pub upstream: usize,
    /// Which pooled connections it may take.
    pub reuse: Reuse,
    /// What is asked before the first byte.
    pub gate: Option<&'a (dyn Gate + 'a)>,
}

impl fmt::Debug for Way<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Way")
            .field("upstream", &self.upstream)
            .field("reuse", &self.reuse)
            .finish_non_exhaustive()
    }
}

/// One upstream, to which every way leads.
impl Forward for Upstream {
    type Body = ResponseBody;

    const HOP: bool = true;

    fn forward<'a>(
        &'a self,
        request: Request<Body>,
        way: Way<'a>,
    ) -> BoxFuture<'a, Result<Response<ResponseBody>, SendError>> {
        Box::pin(self.send_through(request, way.reuse, way.gate))
    }
}
