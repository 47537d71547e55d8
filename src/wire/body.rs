//! Bodies in memory and on their way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + std::marker::Sync>;

/// The body of any request or answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is all there.
pub fn full(bytes: Bytes) -> Body {
    if bytes.is_empty() {
        return empty();
    }
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is all there, with its trailers.
///
/// With trailers it does not tell its length: HTTP/1.1 frames a body of known length by that, and has no place for trailers then.
pub fn with_trailers(bytes: Bytes, trailers: HeaderMap) -> Body {
    if trailers.is_empty() {
        return full(bytes);
    }
    let frames = [Frame::data(bytes), Frame::trailers(trailers)];
    let frames = frames
        .into_iter()
        .filter(|frame| frame.data_ref().is_none_or(|data| !data.is_empty()));
    StreamBody::new(futures_util::stream::iter(frames.map(Ok))).boxed_unsync()
}

/// A body of which the beginning was read already.
pub fn after(ahead: Bytes, rest: Body) -> Body {
    let ahead = futures_util::stream::iter([Ok(Frame::data(ahead))]);
    StreamBody::new(ahead.chain(BodyStream::new(rest))).boxed_unsync()
}

/// A body that is all there, with its trailers, and holds something until it is dropped.
pub fn whole_holding<T: Send + Unpin + 'static>(
    bytes: Bytes,
    trailers: HeaderMap,
    held: T,
) -> Body {
    if trailers.is_empty() {
        // In one box: most have none.
        return holding(Full::new(bytes), held);
    }
    holding(with_trailers(bytes, trailers), held)
}

/// A body that holds something until it is dropped.
pub fn holding<B, T>(body: B, held: T) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    T: Send + Unpin + 'static,
{
    Holding { body, _held: held }.boxed_unsync()
}

struct Holding<B, T> {
    body: B,
    _held: T,
}

impl<B, T> HttpBody for Holding<B, T>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    T: Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
