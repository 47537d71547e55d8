//! What takes a request to one of the upstreams.

use futures_util::future::BoxFuture;
use http::{Request, Response};

use super::upstreams::Upstreams;
use crate::proxy::{Forward, Target};
use crate::upstream::{NotSentReason, ResponseBody, SendError};
use crate::wire::Body;

/// Takes a request to the upstream that its [`Target`] names.
#[derive(Clone)]
pub(super) struct Forwarder {
    pub(super) upstreams: Upstreams,
}

impl Forward for Forwarder {
    type Body = ResponseBody;

    const HOP: bool = true;

    fn forward(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, SendError>> {
        // It stays with the request: one that was not sent comes back, and is sent again to the same upstream.
        let target = request.extensions().get::<Target>().copied();
        let way = target.and_then(|target| {
            let upstream = self.upstreams.get(target.upstream)?;
            Some((upstream, target.reuse))
        });
        match way {
            Some((upstream, reuse)) => Box::pin(upstream.send(request, reuse)),
            None => Box::pin(std::future::ready(Err(SendError::NotSent {
                request: Box::new(request),
                reason: NotSentReason::Closed,
            }))),
        }
    }
}
