//! The service round the given service: one request and its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

use super::body::{AnswerBody, ClientBody};
use super::link::{Link, Open};
use super::sanity::{self, BadRequest};
use super::{ServerSettings, SharedSettings};
use crate::telemetry::{Limit, Metrics, Outcome};
use crate::wire::{BoxError, Code, Page, Peer, Problem, Voice};

/// Checks each request, tells it its [`Peer`], and passes it on.
#[derive(Clone, Debug)]
pub(super) struct Exchange<S> {
    pub(super) inner: S,
    /// Those that the connection began with.
    pub(super) settings: Arc<ServerSettings>,
    pub(super) present: SharedSettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) peer: Peer,
    pub(super) link: Arc<Link>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Exchange<S>
where
    S: Service<Request<ClientBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody<B>>;
    type Error = Infallible;
    type Future = Answering<S, B>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = Open::new(self.link.clone());
        let (mut head, body) = request.into_parts();
        let version = head.version;
        let present = self.present.load();
        let checked = sanity::check(&head, &self.settings);
        let checked = match self.link.take_repeated_length() {
            true => checked.and(Err(BadRequest::ContentLength)),
            false => checked,
        };
        if let Err(fault) = checked {
            self.count(fault);
            let voice = &present.voice;
            let page = voice.origins.page(&head.headers);
            let document = refusal(fault, version, voice, page.as_ref());
            return Answering::Refused {
                response: Some(
                    document.map(|it| AnswerBody::new(Either::Right(it), version, open)),
                ),
            };
        }
        sanity::normalise(&mut head);
        head.extensions.insert(self.peer.clone());
        let body = ClientBody::new(body, version, open.clone());
        Answering::Asked {
            answer: self.inner.clone().oneshot(Request::from_parts(head, body)),
            version,
            open: Some(open),
        }
    }
}

pin_project! {
    /// An answer that is being made. It has its place in the connection, and takes no memory of its own.
    #[project = Doing]
    pub(super) enum Answering<S, B>
    where
        S: Service<Request<ClientBody>>,
    {
        Asked {
            #[pin]
            answer: Oneshot<S, Request<ClientBody>>,
            version: Version,
            // There until it is answered.
            open: Option<Open>,
        },
        Refused {
            // There until it is answered.
            response: Option<Response<AnswerBody<B>>>,
        },
    }
}

impl<S, B> Future for Answering<S, B>
where
    S: Service<Request<ClientBody>, Response = Response<B>, Error = Infallible>,
{
    type Output = Result<Response<AnswerBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match self.project() {
            Doing::Refused { response } => response.take(),
            Doing::Asked {
                answer,
                version,
                open,
            } => {
                let response = ready!(answer.poll(cx)?);
                open.take().map(|open| {
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                        open.link.upgrade();
                    }
                    response.map(|body| AnswerBody::new(Either::Left(body), *version, open))
                })
            }
        };
        Poll::Ready(Ok(
            response.expect("nobody asks again for an answer that was given")
        ))
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

fn refusal(
    fault: BadRequest,
    version: Version,
    voice: &Voice,
    page: Option<&Page>,
) -> Response<Full<Bytes>> {
    let code = if fault == BadRequest::HeadTooLarge {
        Code::HeaderTooLarge
    } else {
        Code::BadRequest
    };
    let mut response: Response<Full<Bytes>> =
        voice.answer(Problem::new(code, fault.to_string()), page);
    // Whoever sends one ambiguous request may be between two of them.
    if version <= Version::HTTP_11 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
