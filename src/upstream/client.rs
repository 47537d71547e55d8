//! The way of a request to the upstream.

use std::fmt;
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body::Body;

use super::body::ResponseBody;
use super::error::{NotSentReason, SendError, UnansweredReason, UpstreamSetupError};
use super::exchange::frame;
use super::gate::Gate;
use super::loan::Loan;
use super::pool::Pool;
use super::settings::UpstreamSettings;
use crate::wire;

/// One API behind the proxy. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Upstream(Arc<Pool>);

/// What came of the last connection that was opened to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// None was opened so far.
    None = 0,
    /// It was there.
    Made = 1,
    /// It could not be reached.
    Failed = 2,
}

/// Which pooled connections a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Every one within `idle_timeout`.
    Any,
    /// Only one idle for so short a time that this upstream is not known to close it: for requests that must not end in
    /// doubt. Without one, a fresh connection is opened, and takes the place of an idle one of its lane if that has several.
    OnlyYoung,
}

impl Upstream {
    /// Prepares the way to `settings.origin`, and connects nothing yet.
    ///
    /// # Errors
    /// An origin that is not http or https, or certificate files that cannot be used.
    pub fn new(settings: &UpstreamSettings) -> Result<Self, UpstreamSetupError> {
        Self::with_lanes(settings, 1)
    }

    /// The same for so many lanes, each with connections of its own.
    ///
    /// # Errors
    /// The same.
    pub fn with_lanes(
        settings: &UpstreamSettings,
        lanes: usize,
    ) -> Result<Self, UpstreamSetupError> {
        Ok(Self(Pool::new(settings, lanes)?))
    }

    /// Host and port as the origin names them: the `Host` of a request that does not keep the client's.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority()
    }

    /// Whether it was there when a connection was last opened; nothing is asked for this.
    #[must_use]
    pub fn contact(&self) -> Contact {
        self.0.contact()
    }

    /// Sends a request and waits for the head of its answer, as long as it takes. The URI is origin-form (or `*`), `Host`
    /// is set; framing headers are written anew. Dropping the future closes the connection.
    ///
    /// Sent a second time, on a fresh connection, is only what died with a reused one: a request of which no byte had left, and,
    /// for [`Reuse::Any`], a GET or HEAD without a body (RFC 9110, 9.2.2).
    ///
    /// # Errors
    /// [`SendError::NotSent`] gives the request back; [`SendError::Unanswered`] leaves it open what became of it.
    pub fn send(
        &self,
        request: Request<wire::Body>,
        mode: Reuse,
    ) -> impl Future<Output = Result<Response<ResponseBody>, SendError>> + Send + use<> {
        self.send_through(request, mode, None)
    }

    /// [Sends](Self::send) a request once its `gate` is open.
    ///
    /// # Errors
    /// The same; a gate that is closed gives the request back.
    pub fn send_through<'g>(
        &self,
        mut request: Request<wire::Body>,
        mode: Reuse,
        gate: Option<&'g (dyn Gate + 'g)>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, SendError>> + Send + use<'g> {
        frame(&mut request);
        // One handle goes with the request from here to the end of its answer: a count that all threads share is not touched for nothing.
        let mut pool = Arc::clone(&self.0);
        async move {
            let mut may_reuse = true;
            loop {
                let Some(permit) = pool.permit().await else {
                    return Err(SendError::not_sent(
                        request,
                        NotSentReason::NoConnectionFree,
                    ));
                };
                let taken = if may_reuse { pool.take(mode) } else { None };
                let reused = taken.is_some();
                let mut loan = match taken {
                    Some((connection, age)) => {
                        connection.occupy(permit);
                        Loan::new(connection, Some(age), pool)
                    }
                    // Put aside, since most requests come not here.
                    None => match Box::pin(pool.connect(permit, mode)).await {
                        Ok(connection) => Loan::new(connection, None, pool),
                        Err(reason) => return Err(SendError::not_sent(request, reason)),
                    },
                };
                let harmless = reused && mode == Reuse::Any;
                let spare = harmless.then(|| copy_if_harmless(&request)).flatten();
                request = match loan.exchange(request, gate).await {
                    Ok(response) => return Ok(loan.answered(response)),
                    Err(SendError::NotSent {
                        request,
                        reason: NotSentReason::Closed,
                    }) if reused => *request,
                    Err(SendError::Unanswered(UnansweredReason::Lost(error))) => match spare {
                        Some(spare) => *spare,
                        None => return Err(SendError::Unanswered(UnansweredReason::Lost(error))),
                    },
                    Err(refused) => return Err(refused),
                };
                // Before another permit is asked for: there may be but one.
                pool = loan.close();
                may_reuse = false;
            }
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("authority", &self.authority())
            .finish_non_exhaustive()
    }
}

fn copy_if_harmless(request: &Request<wire::Body>) -> Option<Box<Request<wire::Body>>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(wire::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(Box::new(copy))
}
