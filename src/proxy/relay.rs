//! A body handed on piece by piece, with back-pressure, that never ends cleanly by accident.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use crate::wire::BoxError;

/// A pair of ends. One piece is on its way at most.
pub(super) fn relay() -> (RelaySender, RelayBody) {
    let (sender, pieces) = mpsc::channel(1);
    (
        RelaySender {
            sender: Some(sender),
        },
        RelayBody {
            pieces,
            ended: false,
        },
    )
}

/// Hands pieces on. Dropped before [`RelaySender::end_with`] it aborts the body: an answer that broke off must not look whole.
pub(super) struct RelaySender {
    sender: Option<mpsc::Sender<Piece>>,
}

/// The body at the other end.
pub(super) struct RelayBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

enum Piece {
    Frame(Frame<Bytes>),
    End,
}

/// The upstream's answer broke off, or the proxy stopped.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer broke off")]
struct BrokeOff;

impl RelaySender {
    /// Hands a piece on, as soon as the one before was taken; without effect if nobody takes them any more.
    pub(super) async fn send(&mut self, frame: Frame<Bytes>) {
        if let Some(sender) = &self.sender
            && sender.send(Piece::Frame(frame)).await.is_err()
        {
            self.sender = None;
        }
    }

    /// Hands the last piece on, if there is one more, and says that this was all.
    pub(super) async fn end_with(mut self, last: Option<Frame<Bytes>>) {
        if let Some(frame) = last {
            self.send(frame).await;
        }
        if let Some(sender) = self.sender.take() {
            // Whoever does not listen any more needs no end.
            let _ = sender.send(Piece::End).await;
        }
    }
}

impl HttpBody for RelayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Frame(frame)) => Some(Ok(frame)),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(BrokeOff.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn what_was_sent_arrives_and_ends_cleanly() {
        let (mut sender, body) = relay();
        let reader = tokio::spawn(body.collect());
        sender.send(Frame::data(Bytes::from_static(b"ab"))).await;
        sender.send(Frame::data(Bytes::from_static(b"c"))).await;
        sender.end_with(None).await;
        assert_eq!(reader.await.unwrap().unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn a_sender_that_is_dropped_aborts_the_body() {
        let (mut sender, body) = relay();
        let reader = tokio::spawn(body.collect());
        sender.send(Frame::data(Bytes::from_static(b"ab"))).await;
        drop(sender);
        assert!(reader.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn nobody_listening_stops_nobody() {
        let (mut sender, body) = relay();
        drop(body);
        for _ in 0..3 {
            sender.send(Frame::data(Bytes::from_static(b"ab"))).await;
        }
        sender.end_with(None).await;
    }
}
