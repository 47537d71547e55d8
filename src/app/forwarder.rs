//! The service that takes a request to one of the upstreams.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tower::Service;

use super::upstreams::Upstreams;
use crate::proxy::Target;
use crate::upstream::{NotSentReason, ResponseBody, SendError};
use crate::wire::Body;

/// Takes a request to the upstream that its [`Target`] names.
#[derive(Clone)]
pub(super) struct Forwarder {
    pub(super) upstreams: Upstreams,
}

impl Service<Request<Body>> for Forwarder {
    type Response = Response<ResponseBody>;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Self::Response, SendError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // It stays with the request: one that was not sent comes back, and is sent again to the same upstream.
        let target = request.extensions().get::<Target>().copied();
        let way = target.and_then(|target| {
            let upstream = self.upstreams.get(target.upstream)?;
            Some((upstream.clone(), target.reuse))
        });
        Box::pin(async move {
            match way {
                Some((upstream, reuse)) => upstream.send(request, reuse).await,
                None => Err(SendError::NotSent {
                    request: Box::new(request),
                    reason: NotSentReason::Closed,
                }),
            }
        })
    }
}
