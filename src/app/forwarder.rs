//! What takes a request to one of the upstreams.

use futures_util::future::BoxFuture;
use http::{Request, Response};

use super::upstreams::Upstreams;
use crate::proxy::{Forward, Way};
use crate::upstream::{NotSentReason, ResponseBody, SendError};
use crate::wire::Body;

/// Takes a request to the upstream that its [`Way`] names.
#[derive(Clone)]
pub(super) struct Forwarder {
    pub(super) upstreams: Upstreams,
}

impl Forward for Forwarder {
    type Body = ResponseBody;

    const HOP: bool = true;

    fn forward<'a>(
        &'a self,
        request: Request<Body>,
        way: Way<'a>,
    ) -> BoxFuture<'a, Result<Response<ResponseBody>, SendError>> {
        match self.upstreams.get(way.upstream) {
            Some(upstream) => upstream.forward(request, way),
            None => Box::pin(std::future::ready(Err(SendError::NotSent {
                request: Box::new(request),
                reason: NotSentReason::Closed,
            }))),
        }
    }
}
