//! Bodies in memory and on their way.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};

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

/// A body that holds something until it is over or dropped.
pub fn holding<T: Send + 'static>(body: Body, held: T) -> Body {
    body.map_frame(move |frame| {
        // Named, so that the closure owns it.
        let _ = &held;
        frame
    })
    .boxed_unsync()
}
