//! One request over one connection.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, response,
};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::{ResponseBody, Upload};
use super::error::{NotSentReason, SendError, UnansweredReason};
use super::gate::Gate;
use super::headers::{list, names_option, set_length};
use super::loan::Loan;
use crate::fault::{self, Place, Seeded};
use crate::wire::{self, in_time};

impl Loan {
    /// Sends `request` and waits for the head of the answer.
    // An `async fn` would keep a second place for what it is given.
    #[expect(clippy::manual_async_fn)]
    pub(super) fn exchange(
        &mut self,
        request: Request<wire::Body>,
        gate: Option<&(dyn Gate + '_)>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + Send {
        async move {
            // The driver may not have come round yet after the last answer; a connection that ended says so here.
            if !self.is_ready().await {
                self.died(false);
                return Err(SendError::not_sent(request, NotSentReason::Closed));
            }
            let mut begun = Instant::now();
            if let Some(gate) = gate
                && begun > gate.fresh_until()
                && !fault::seeded(Seeded::NoLookAtTheClock)
            {
                // Apart, since nearly every claim is fresh.
                if !Box::pin(gate.is_open()).await {
                    return Err(SendError::not_sent(request, NotSentReason::GateClosed));
                }
                if self.idle_for().is_some() && !self.is_alive() {
                    self.died(false);
                    return Err(SendError::not_sent(request, NotSentReason::Closed));
                }
                begun = Instant::now();
            }
            let (parts, body) = request.into_parts();
            let (upload, under_way) = Upload::new(body);
            self.watch(under_way);
            fault::reach(Place::BeforeFirstByte);
            // hyper hands the request back exactly if it was never put into the write buffer.
            let request = Request::from_parts(parts, upload);
            let sent = self.sender().try_send_request(request);
            sent.await.map_err(|mut failure| {
                let request = failure.take_message();
                let reason = UnansweredReason::of(failure.into_error());
                if begun.elapsed() < AT_ONCE && matches!(reason, UnansweredReason::Lost(_)) {
                    self.died(request.is_none());
                }
                match request {
                    Some(request) => {
                        SendError::not_sent(request.map(Upload::into_inner), NotSentReason::Closed)
                    }
                    None => SendError::Unanswered(reason),
                }
            })
        }
    }

    async fn is_ready(&mut self) -> bool {
        matches!(in_time(AT_ONCE, self.sender().ready()).await, Some(Ok(())))
    }

    /// Goes with the body of the answer, to whose end the connection is lent.
    pub(super) fn answered(mut self, response: Response<Incoming>) -> Response<ResponseBody> {
        let (parts, body) = response.into_parts();
        let body = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            self.let_go();
            ResponseBody::new(body, None)
        } else {
            let (reusable, lifetime) = (stays_open(&parts, &body), stated_timeout(&parts.headers));
            self.terms(reusable, lifetime, body.is_end_stream());
            ResponseBody::new(body, Some(self))
        };
        Response::from_parts(parts, body)
    }
}

/// Writes the framing headers anew from what the body says of itself, and HTTP/1.1 on the request. A request that
/// announces trailers goes in chunks: HTTP/2 has them beside a length, HTTP/1.1 has not.
pub(super) fn frame(request: &mut Request<wire::Body>) {
    *request.version_mut() = Version::HTTP_11;
    let (empty, length) = (
        request.body().is_end_stream(),
        request.body().size_hint().exact(),
    );
    let wants_length = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    );
    let headers = request.headers_mut();
    headers.remove(TRANSFER_ENCODING);
    match length {
        _ if empty => {
            // A missing length means the same, but some servers answer 411 to it.
            if headers.remove(CONTENT_LENGTH).is_some() || wants_length {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
        }
        Some(length) if !headers.contains_key(TRAILER) => {
            set_length(headers, length);
        }
        None if headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRAILER) => {}
        // Said aloud: hyper would leave out the body of a GET.
        _ => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Whether the upstream lets the connection be used again. Not with HTTP/1.0: hyper would speak 1.0 from then on, which
/// has no chunked uploads.
fn stays_open(parts: &response::Parts, body: &Incoming) -> bool {
    let delimited =
        body.size_hint().exact().is_some() || parts.headers.contains_key(TRANSFER_ENCODING);
    parts.version == Version::HTTP_11 && delimited && !names_option(&parts.headers, "close")
}

/// The `timeout` of a `Keep-Alive` header, seconds.
fn stated_timeout(headers: &HeaderMap) -> Option<Duration> {
    // To hash a name that is no standard one takes longer than to go over the few that there are.
    if !headers.keys().any(|name| *name == KEEP_ALIVE) {
        return None;
    }
    list(headers, &KEEP_ALIVE)
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A failure later than this after sending is the upstream's work, not a race with its idle timeout.
const AT_ONCE: Duration = Duration::from_secs(1);
