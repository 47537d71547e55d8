//! The service round the given service: one request and its answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
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
    pub(super) addr: SocketAddr,
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
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

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
            let response = refusal(fault, version, voice, page.as_ref())
                .map(|document| AnswerBody::new(Either::Right(document), version, open));
            return Box::pin(std::future::ready(Ok(response)));
        }
        sanity::normalise(&mut head);
        head.extensions.insert(Peer {
            addr: self.addr,
            scheme: match self.settings.tls {
                Some(_) => "https",
                None => "http",
            },
        });
        let body = ClientBody::new(body, version, open.clone());
        let answer = self.inner.clone().oneshot(Request::from_parts(head, body));
        Box::pin(async move {
            let response = answer.await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                open.link.upgrade();
            }
            Ok(response.map(|body| AnswerBody::new(Either::Left(body), version, open)))
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
