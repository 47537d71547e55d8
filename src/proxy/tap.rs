//! A body on its way, and what is learnt of it by the way: it is handed on as it comes, piece by piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::limits::Buffered;
use super::payload::Pieces;
use crate::idempotency::PartHasher;
use crate::idempotency::digest::Digest;
use crate::wire::{Body, BoxError};

/// A body on its way. It tells of itself by [`Sight`]s; where they end without an [`End`], nobody wanted the rest of it.
pub(super) struct Tap {
    body: Body,
    /// All of it, where that was told.
    length: Option<u64>,
    taken: u64,
    limit: u64,
    over: bool,
    hasher: Option<PartHasher>,
    copy: Option<(Pieces, Buffered)>,
    shows_start: bool,
    sights: Option<mpsc::Sender<Sight>>,
}

/// Something that was seen of a body; each at most once, the end last.
pub(super) enum Sight {
    /// It is larger than the limit; how it began, where that was asked for, and the memory that this takes. There will be no copy.
    Over(Option<(Bytes, Buffered)>),
    /// There was no memory for a copy.
    NoRoom,
    /// It ended.
    End(End),
}

/// How a body ended.
pub(super) struct End {
    /// Whether that was all of it; otherwise it broke off.
    pub(super) whole: bool,
    /// Bytes that went by.
    pub(super) taken: u64,
    /// Their hash, where one was asked for.
    pub(super) digest: Option<Digest>,
    /// Their copy, where one was asked for, and the memory that it takes.
    pub(super) copy: Option<(Bytes, Buffered)>,
}

impl Tap {
    /// A tap on `body`, and where its sights come out. `limit` bytes make it [`Sight::Over`], at its first piece if it tells its length.
    pub(super) fn new(body: Body, limit: u64) -> (Self, mpsc::Receiver<Sight>) {
        let (sights, seen) = mpsc::channel(SIGHTS);
        let tap = Self {
            length: body.size_hint().exact(),
            body,
            taken: 0,
            limit,
            over: false,
            hasher: None,
            copy: None,
            shows_start: false,
            sights: Some(sights),
        };
        (tap, seen)
    }

    /// The same, hashed.
    pub(super) fn hashed(mut self) -> Self {
        self.hasher = Some(PartHasher::new());
        self
    }

    /// The same, copied up to its limit into this memory.
    pub(super) fn copied(mut self, memory: Buffered) -> Self {
        self.copy = Some((Pieces::default(), memory));
        self
    }

    /// The same, and where its copy goes over the limit what was copied by then is shown, or its first piece.
    pub(super) fn showing_start(mut self) -> Self {
        self.shows_start = true;
        self
    }

    /// Lets it go.
    pub(super) fn open(mut self) -> Self {
        self.end_if_last();
        self
    }

    fn take(&mut self, data: &Bytes) {
        self.taken += data.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(data);
        }
        if !self.over && self.taken.max(self.length.unwrap_or(0)) > self.limit {
            self.over = true;
            let copy = self.copy.take().filter(|_| self.shows_start);
            let sight = match copy {
                None => Sight::Over(None),
                Some((pieces, memory)) if pieces.len() > 0 => {
                    Sight::Over(Some((pieces.join(), memory)))
                }
                Some((_, mut memory)) => {
                    if memory.grow(data.len()) {
                        Sight::Over(Some((data.clone(), memory)))
                    } else {
                        Sight::NoRoom
                    }
                }
            };
            self.tell(sight);
        }
        if let Some((pieces, memory)) = &mut self.copy {
            if memory.grow(data.len()) {
                pieces.push(data.clone());
            } else {
                self.copy = None;
                self.tell(Sight::NoRoom);
            }
        }
    }

    /// Whoever sends it on may know that this was the last piece, and ask no further.
    fn end_if_last(&mut self) {
        if self.length == Some(self.taken) || self.body.is_end_stream() {
            self.end(true);
        }
    }

    fn end(&mut self, whole: bool) {
        let end = End {
            whole,
            taken: self.taken,
            digest: self.hasher.take().map(PartHasher::finish),
            copy: self
                .copy
                .take()
                .map(|(pieces, memory)| (pieces.join(), memory)),
        };
        self.tell(Sight::End(end));
        self.sights = None;
    }

    fn tell(&self, sight: Sight) {
        if let Some(sights) = &self.sights {
            // There is room for each kind of sight; and whoever does not look any more need not be told.
            let _ = sights.try_send(sight);
        }
    }
}

impl HttpBody for Tap {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.take(data);
                }
                this.end_if_last();
            }
            Some(Err(_)) => this.end(false),
            None => this.end(true),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Kinds of sights.
const SIGHTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::limits::Limits;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use prometheus_client::metrics::gauge::Gauge;

    /// A body of these pieces, which does not tell its length, and may break off.
    fn body(pieces: &[&'static str], whole: bool) -> Body {
        let pieces = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        let end = (!whole).then(|| Err(BoxError::from("broke off")));
        StreamBody::new(stream::iter(pieces.chain(end).collect::<Vec<_>>())).boxed_unsync()
    }

    fn full(text: &'static str) -> Body {
        crate::wire::full(Bytes::from_static(text.as_bytes()))
    }

    fn memory(bytes: u64) -> Buffered {
        Limits::new(1, bytes, Gauge::default()).buffer()
    }

    /// All that is seen of a body that goes by whole, in words.
    async fn seen(tap: Tap, mut sights: mpsc::Receiver<Sight>) -> Vec<String> {
        let _ = tap.open().collect().await;
        let mut words = Vec::new();
        while let Some(sight) = sights.recv().await {
            words.push(match sight {
                Sight::Over(Some((start, _))) => format!("over after {}", start.len()),
                Sight::Over(None) => "over".to_owned(),
                Sight::NoRoom => "no room".to_owned(),
                Sight::End(end) => {
                    let copy = end
                        .copy
                        .map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned());
                    format!("{} {} {copy:?}", end.whole, end.taken)
                }
            });
        }
        words
    }

    #[tokio::test]
    async fn what_goes_by_is_counted_and_copied_up_to_the_limit() {
        let (tap, sights) = Tap::new(body(&["ab", "c"], true), 3);
        let words = seen(tap.copied(memory(9)), sights).await;
        assert_eq!(words, [r#"true 3 Some("abc")"#]);
        let (tap, sights) = Tap::new(body(&["ab", "cd"], true), 3);
        let words = seen(tap.copied(memory(9)).showing_start(), sights).await;
        assert_eq!(words, ["over after 2", "true 4 None"]);
        // One that tells its length is known to be over at its first piece.
        let (tap, sights) = Tap::new(full("abcd"), 3);
        let words = seen(tap.copied(memory(9)).showing_start(), sights).await;
        assert_eq!(words, ["over after 4", "true 4 None"]);
        let (tap, sights) = Tap::new(full("abcd"), 3);
        let words = seen(tap.copied(memory(3)).showing_start(), sights).await;
        assert_eq!(words, ["no room", "true 4 None"]);
        for pieces in [&["ab", "cd"][..], &["abcd"]] {
            let (tap, sights) = Tap::new(body(pieces, true), 3);
            let words = seen(tap.copied(memory(9)), sights).await;
            assert_eq!(words, ["over", "true 4 None"]);
        }
    }

    #[tokio::test]
    async fn the_start_of_a_body_that_is_shown_keeps_its_memory() {
        for pieces in [&["ab", "cd"][..], &["abcd"]] {
            let limits = Limits::new(1, 5, Gauge::default());
            let (tap, mut sights) = Tap::new(body(pieces, true), 3);
            let tap = tap.copied(limits.buffer()).showing_start();
            let _ = tap.open().collect().await;
            assert!(!limits.buffer().grow(4));
            let Some(Sight::Over(Some(start))) = sights.recv().await else {
                panic!("no start was shown");
            };
            assert!(!limits.buffer().grow(4));
            drop(start);
            assert!(limits.buffer().grow(5));
        }
    }

    #[tokio::test]
    async fn a_copy_that_has_no_room_leaves_the_body_alone() {
        let (tap, sights) = Tap::new(body(&["ab", "cd", "e"], true), 9);
        let words = seen(tap.copied(memory(3)), sights).await;
        assert_eq!(words, ["no room", "true 5 None"]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_and_one_that_nobody_wants_are_told_apart() {
        let (tap, sights) = Tap::new(body(&["ab"], false), 9);
        assert_eq!(seen(tap, sights).await, ["false 2 None"]);
        let (tap, mut sights) = Tap::new(body(&["ab"], true), 9);
        drop(tap);
        assert!(sights.recv().await.is_none());
    }

    #[tokio::test]
    async fn the_last_piece_is_the_end_though_nobody_asks_further() {
        for (mut tap, mut sights) in [Tap::new(full("ab"), 9), Tap::new(full(""), 9)] {
            tap = tap.hashed().open();
            let _ = tap.frame().await;
            drop(tap);
            let Some(Sight::End(end)) = sights.recv().await else {
                panic!("no end was seen");
            };
            assert!(end.whole && end.digest.is_some());
        }
    }

    #[tokio::test]
    async fn a_body_is_what_it_was_before() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-a", http::HeaderValue::from_static("1"));
        let body = crate::wire::with_trailers(Bytes::from_static(b"ab"), trailers.clone());
        let (tap, _seen) = Tap::new(body, 1);
        let collected = tap.open().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "ab");
        let (tap, _seen) = Tap::new(full("abc"), 1);
        assert_eq!(tap.size_hint().exact(), Some(3));
    }
}
