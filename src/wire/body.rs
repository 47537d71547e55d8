//! Bodies in memory and on their way.

use bytes::Bytes;
use futures_util::stream;
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

/// A body that is all there, with its trailers. With any it does not tell its length: only a body in chunks can have them.
pub fn with_trailers(bytes: Bytes, trailers: HeaderMap) -> Body {
    if trailers.is_empty() {
        return full(bytes);
    }
    let data = (!bytes.is_empty()).then(|| Frame::data(bytes));
    let frames = data.into_iter().chain([Frame::trailers(trailers)]).map(Ok);
    StreamBody::new(stream::iter(frames)).boxed_unsync()
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
