//! The bodies of both directions, as far as the connection has to know of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::timeout;

use super::link::Open;
use super::streams;
use crate::wire::BoxError;

/// The body of a client's request: it ends cleanly only if the client ended it. Until it ends or is dropped the exchange is
/// open, even if its answer is over.
pub(super) struct ClientBody {
    /// There until it is dropped.
    inner: Option<Incoming>,
    version: Version,
    open: Option<Open>,
}

impl ClientBody {
    pub(super) fn new(inner: Incoming, version: Version, open: Open) -> Self {
        let open = (!inner.is_end_stream()).then(|| open.outside());
        Self {
            inner: Some(inner),
            version,
            open,
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self {
            inner,
            version,
            open,
        } = &mut *self;
        let Some(inner) = inner else {
            return Poll::Ready(None);
        };
        let frame = match open {
            Some(open) => open.link.bell.poll_frame(inner, cx),
            None => Pin::new(&mut *inner).poll_frame(cx),
        };
        let (frame, ended) = (ready!(frame?), inner.is_end_stream());
        // hyper takes RST_STREAM with NO_ERROR for an end. That is the server's to say, when it answered early (RFC 9113,
        // 8.1); from a client it means half an upload. Over HTTP/1 a body is known to be over otherwise.
        if frame.is_none() && *version == Version::HTTP_2 && !ended {
            return Poll::Ready(Some(Err("the client's upload ended early".into())));
        }
        if frame.is_none() || ended {
            *open = None;
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.link.cut();
        // A stream whose body nobody reads is reset after its answer, and some clients then lose the answer. What is on
        // its way already is read, so that most streams end by themselves.
        if self.version == Version::HTTP_2
            && let Some(body) = self.inner.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                drop(timeout(LINGER, Limited::new(body, LINGER_BYTES).collect()).await);
            });
        }
    }
}

pin_project! {
    /// The body of an answer; the exchange is open as long as it lives. Over HTTP/2 it comes in small pieces: h2 takes a
    /// piece of any size once the client's window is open by one byte, and keeps what does not fit.
    pub(super) struct AnswerBody<B> {
        #[pin]
        inner: Either<B, Full<Bytes>>,
        rest: Bytes,
        largest: usize,
        open: Open,
    }
}

impl<B> AnswerBody<B> {
    pub(super) fn new(inner: Either<B, Full<Bytes>>, version: Version, open: Open) -> Self {
        let largest = if version == Version::HTTP_2 {
            HTTP2_PIECE
        } else {
            usize::MAX
        };
        Self {
            inner,
            rest: Bytes::new(),
            largest,
            open,
        }
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
        let this = self.project();
        streams::asked();
        let frame = if this.rest.is_empty() {
            ready!(this.inner.poll_frame(cx)?)
        } else {
            Some(Frame::data(std::mem::take(this.rest)))
        };
        Poll::Ready(frame.map(|frame| {
            Ok(frame.map_data(|mut data| {
                *this.rest = data.split_off(data.len().min(*this.largest));
                streams::handed_over();
                data
            }))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

const HTTP2_PIECE: usize = 16 * 1024;

/// What of an upload that nobody wants is read all the same.
const LINGER_BYTES: usize = 64 * 1024;
const LINGER: Duration = Duration::from_millis(200);
