//! The service that takes a request to one of the upstreams.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tower::Service;

use crate::proxy::Target;
use crate::upstream::{NotSentReason, ResponseBody, Reuse, SendError, Upstream};
use crate::wire::Body;

/// Takes a request to the upstream that its [`Target`] names.
#[derive(Clone)]
pub(super) struct Forwarder {
    pub(super) upstreams: Arc<[Upstream]>,
}

impl Service<Request<Body>> for Forwarder {
    type Response = Response<ResponseBody>;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Self::Response, SendError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let target = request.extensions_mut().remove::<Target>();
        let target = target.unwrap_or(Target {
            upstream: 0,
            reuse: Reuse::OnlyYoung,
        });
        let upstream = self.upstreams.get(target.upstream).cloned();
        Box::pin(async move {
            match upstream {
                Some(upstream) => upstream.send(request, target.reuse).await,
                None => Err(SendError::NotSent {
                    request: Box::new(request),
                    reason: NotSentReason::Closed,
                }),
            }
        })
    }
}
