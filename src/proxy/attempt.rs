//! One try to ask the upstream, under a span of its own where the request is traced.

use http::{Request, Response};

use super::trail::Trail;
use super::{Forward, Shared, Way};
use crate::telemetry::Limit;
use crate::upstream::{NotSentReason, SendError};
use crate::wire::Body;

impl<F: Forward, S> Shared<F, S> {
    /// Takes a request to its upstream, after so many tries.
    pub(super) fn attempt<'a>(
        &'a self,
        mut request: Request<Body>,
        way: Way<'a>,
        trail: &Trail,
        resends: u32,
    ) -> impl Future<Output = Result<Response<F::Body>, SendError>> + Send + use<'a, F, S> {
        let span = trail.span().map(|span| {
            let authority = self.authorities.get(way.upstream);
            let method = request.method().clone();
            let authority = authority.and_then(|authority| authority.to_str().ok());
            let authority = authority.unwrap_or_default();
            // In a box: most requests are not traced, and need no room for it.
            Box::new(span.attempt(&method, authority, resends, request.headers_mut()))
        });
        let answer = self.inner.forward(request, way);
        let metrics = &self.metrics;
        async move {
            let answer = answer.await;
            if let Err(SendError::NotSent {
                reason: NotSentReason::NoConnectionFree,
                ..
            }) = &answer
            {
                metrics.limit_reached(Limit::UpstreamConnections);
            }
            if let Some(span) = span {
                match &answer {
                    Ok(response) => span.answered(response.status()),
                    Err(SendError::NotSent { .. }) => span.failed("not_sent"),
                    Err(SendError::Unanswered(_)) => span.failed("unanswered"),
                }
            }
            answer
        }
    }
}
