//! Any tower service in the place of an upstream: a router of this program.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Extensions, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use super::{Forward, Way};
use crate::upstream::{Gate, NotSentReason, SendError, UnansweredReason};
use crate::wire::{Body, BoxError};

/// A tower service of this program, to which requests go as they came. What it says of a failure is not known to mean that nothing was
/// done: every error of it, and every panic, leaves the outcome unknown.
#[derive(Clone)]
pub struct Within<T> {
    /// The service.
    pub service: T,
    /// Who answers the questions beside the requests.
    pub advisor: Option<Advisor>,
    /// Tells the other end of a request's connection.
    pub client_address: Option<ClientAddress>,
}

/// Who answers the questions beside the requests.
pub type Advisor = BoxCloneSyncService<Request<Body>, Response<Body>, SendError>;

/// Tells by the extensions of a request who is at the other end of its connection.
pub type ClientAddress = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

impl<T, B> Forward for Within<T>
where
    T: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Body = Body;

    const HOP: bool = false;

    fn forward<'a>(
        &'a self,
        request: Request<Body>,
        way: Way<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, SendError>> {
        Box::pin(serve(self.service.clone(), request, way.gate))
    }

    fn ask<'a>(
        &'a self,
        question: Request<Body>,
        _: Way<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, SendError>> {
        match self.advisor.clone() {
            Some(advisor) => Box::pin(advisor.oneshot(question)),
            None => Box::pin(std::future::ready(Err(SendError::NotSent {
                request: Box::new(question),
                reason: NotSentReason::Closed,
            }))),
        }
    }

    fn peer(&self, extensions: &Extensions) -> Option<SocketAddr> {
        self.client_address.as_ref()?(extensions)
    }
}

/// Waits until the service is ready, and has it carry a request out, unless its `gate` closed meanwhile.
///
/// # Errors
///
/// The gate closed; or the service failed or panicked.
pub async fn serve<T, B>(
    mut service: T,
    request: Request<Body>,
    gate: Option<&(dyn Gate + '_)>,
) -> Result<Response<Body>, SendError>
where
    T: Service<Request<Body>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    T::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let answer = async {
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
        if let Some(gate) = gate
            && !gate.is_open().await
        {
            return Err(SendError::NotSent {
                request: Box::new(request),
                reason: NotSentReason::GateClosed,
            });
        }
        called(&mut service, request).await
    };
    // What panicked is dropped, and nobody sees the state that it left.
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or(Err(SendError::Unanswered(UnansweredReason::Panicked)))
}

/// Boxed here, where the compiler still knows that the future can be sent.
fn called<T, B>(
    service: &mut T,
    request: Request<Body>,
) -> BoxFuture<'static, Result<Response<Body>, SendError>>
where
    T: Service<Request<Body>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    T::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let answer = service.call(request).map(|answer| match answer {
        Ok(response) => Ok(response.map(|body| Guarded { body: Some(body) }.boxed_unsync())),
        Err(error) => Err(failed(error)),
    });
    Box::pin(answer)
}

fn failed(error: impl Into<BoxError>) -> SendError {
    SendError::Unanswered(UnansweredReason::Service(error.into()))
}

pin_project_lite::pin_project! {
    /// A body whose panic is an error of it.
    struct Guarded<B> {
        #[pin]
        body: Option<B>,
    }
}

impl<B> HttpBody for Guarded<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        match catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
            Ok(frame) => frame.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Err(_) => {
                this.body.set(None);
                Poll::Ready(Some(Err(UnansweredReason::Panicked.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let ended = || self.body.as_ref().is_some_and(HttpBody::is_end_stream);
        // One that panics is asked for its next piece, which tells.
        catch_unwind(AssertUnwindSafe(ended)).unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        let told = || self.body.as_ref().map(HttpBody::size_hint);
        let told = catch_unwind(AssertUnwindSafe(told)).ok();
        told.flatten().unwrap_or_default()
    }
}
