//! Round the given handler: one request and its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::body::{AnswerBody, ClientBody};
use super::link::{Link, Open};
use super::sanity::{self, BadRequest};
use super::{ServerSettings, SharedSettings};
use crate::telemetry::{Limit, Metrics, Outcome};
use crate::wire::{Body, Code, Handler, Page, Peer, Problem, Voice};

/// Checks each request, and passes it on with its [`Peer`].
pub(super) struct Exchange<H> {
    pub(super) handler: H,
    /// Those that the connection began with.
    pub(super) settings: Arc<ServerSettings>,
    pub(super) present: SharedSettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) peer: Arc<Peer>,
    pub(super) link: Arc<Link>,
}

impl<H: Handler> hyper::service::Service<Request<Incoming>> for Exchange<H> {
    type Response = Response<AnswerBody<H::Body>>;
    type Error = Infallible;
    type Future = Answering<H>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = Open::new(self.link.clone());
        let (mut head, body) = request.into_parts();
        let version = head.version;
        let checked = sanity::check(&head, &self.settings);
        let checked = match self.link.take_repeated_length() {
            true => checked.and(Err(BadRequest::ContentLength)),
            false => checked,
        };
        if let Err(fault) = checked {
            self.count(fault);
            let voice = &self.present.load().voice;
            let page = voice.origins.page(&head.headers);
            let document = refusal(fault, version, voice, page.as_ref());
            return Answering::Refused {
                response: Some(
                    document.map(|it| AnswerBody::new(Either::Right(it), version, open)),
                ),
            };
        }
        sanity::normalise(&mut head);
        let body = ClientBody::new(body, version, open.clone()).boxed_unsync();
        let (request, peer) = (Request::from_parts(head, body), self.peer.clone());
        if version == Version::HTTP_2 {
            let handler = self.handler.clone();
            return Answering::Arrived {
                arrived: Some(Box::new(Arrived {
                    handler,
                    request,
                    peer,
                    open,
                })),
            };
        }
        Answering::Asked {
            answer: self.handler.handle(request, peer),
            version,
            open: Some(open),
        }
    }
}

/// A request that nothing was done about yet.
pub(super) struct Arrived<H> {
    handler: H,
    request: Request<Body>,
    peer: Arc<Peer>,
    open: Open,
}

pin_project! {
    /// An answer that is being made. Over HTTP/1 it has its place in the connection, and takes no memory of its own.
    #[project = Doing]
    pub(super) enum Answering<H: Handler> {
        // Over HTTP/2: what is done about it is done by its stream, beside which the connection and all other streams go on.
        Arrived {
            // There until it is asked.
            arrived: Option<Box<Arrived<H>>>,
        },
        Asked {
            #[pin]
            answer: H::Future,
            version: Version,
            // There until it is answered.
            open: Option<Open>,
        },
        Refused {
            // There until it is answered.
            response: Option<Response<AnswerBody<H::Body>>>,
        },
    }
}

impl<H: Handler> Future for Answering<H> {
    type Output = Result<Response<AnswerBody<H::Body>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Doing::Arrived { arrived } = self.as_mut().project()
            && let Some(arrived) = arrived.take()
        {
            let Arrived {
                handler,
                request,
                peer,
                open,
            } = *arrived;
            self.set(Self::Asked {
                version: request.version(),
                answer: handler.handle(request, peer),
                open: Some(open),
            });
        }
        let response = match self.project() {
            Doing::Arrived { .. } => None,
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

impl<H> Exchange<H> {
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
