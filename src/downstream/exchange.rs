//! The service round the given service: one request and its answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt};

use super::ServerSettings;
use super::sanity::{self, BadRequest};
use crate::telemetry::{Limit, Metrics, Outcome};
use crate::wire::{BoxError, Code, Peer, Problem};

/// A client at `addr`, over plain TCP.
pub(super) fn peer(addr: SocketAddr, settings: &ServerSettings) -> Peer {
    let ip = addr.ip().to_canonical();
    Peer {
        addr,
        trusted: settings.trust_forwarded.iter().any(|net| net.contains(&ip)),
        scheme: "http",
    }
}

/// What the service knows of a connection and its input and output need.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Exchanges whose answer has not ended.
    open: AtomicUsize,
    /// Requests so far, wrapping.
    served: AtomicUsize,
    /// The connection left HTTP.
    upgraded: AtomicBool,
}

impl Link {
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    pub(super) fn served(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }
}

/// Checks each request, tells it its [`Peer`], and passes it on.
#[derive(Clone, Debug)]
pub(super) struct Exchange<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<ServerSettings>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) peer: Peer,
    pub(super) link: Arc<Link>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Exchange<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = Open::new(self.link.clone());
        let (mut head, body) = request.into_parts();
        if let Err(fault) = sanity::check(&head, &self.settings) {
            self.count(fault);
            let response = refusal(fault, head.version)
                .map(|document| AnswerBody::new(Either::Right(document), open));
            return Box::pin(std::future::ready(Ok(response)));
        }
        sanity::normalise(&mut head);
        head.extensions.insert(self.peer);
        let answer = self.inner.clone().oneshot(Request::from_parts(head, body));
        Box::pin(async move {
            let response = answer.await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                open.link.upgraded.store(true, Ordering::Release);
            }
            Ok(response.map(|body| AnswerBody::new(Either::Left(body), open)))
        })
    }
}

impl<S> Exchange<S> {
    fn count(&self, fault: BadRequest) {
        self.metrics.request("", Outcome::BadRequest);
        if fault == BadRequest::HeadTooLarge {
            self.metrics.limit_reached(Limit::MaxHeaderBytes);
        }
    }
}

fn refusal(fault: BadRequest, version: Version) -> Response<Full<Bytes>> {
    let code = if fault == BadRequest::HeadTooLarge {
        Code::HeaderTooLarge
    } else {
        Code::BadRequest
    };
    let mut response: Response<Full<Bytes>> = Problem::new(code, fault.to_string()).into_response();
    // Whoever sends one ambiguous request may be between two of them.
    if version <= Version::HTTP_11 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pin_project! {
    /// The body of an answer; the exchange is open as long as it lives.
    pub(super) struct AnswerBody<B> {
        #[pin]
        inner: Either<B, Full<Bytes>>,
        open: Open,
    }
}

impl<B> AnswerBody<B> {
    fn new(inner: Either<B, Full<Bytes>>, open: Open) -> Self {
        Self { inner, open }
    }
}

impl<B> Body for AnswerBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Counts an exchange as open until dropped.
pub(super) struct Open {
    link: Arc<Link>,
}

impl Open {
    pub(super) fn new(link: Arc<Link>) -> Self {
        link.open.fetch_add(1, Ordering::AcqRel);
        link.served.fetch_add(1, Ordering::AcqRel);
        Self { link }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.link.open.fetch_sub(1, Ordering::AcqRel);
    }
}
