//! The streams of an HTTP/2 connection: each is a task, and ends when its client takes nothing of the answer any more.
//!
//! hyper asks an answer's body for the next piece when the one before went into the client's window. So a stream that was handed
//! a piece and does not ask again is waiting for its client. Such a wait has a bound; when it passes, the stream's
//! task is dropped, and h2 resets the stream. The pings of the connection tell only that somebody is there.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// Runs the tasks of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    /// How long a stream may wait for its client's window.
    pub(super) patience: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(Patient {
            inner: task,
            patience: self.patience,
            waiting_since: None,
            timer: None,
        });
    }
}

/// Says, from within the poll of a body, that its stream asks for a piece.
pub(super) fn asked() {
    // Outside of a stream's task, over HTTP/1, nobody listens.
    let _ = NOW.try_with(|now| now.set(Some(Stream::Asking)));
}

/// Says, from within the poll of a body, that its stream has a piece to send.
pub(super) fn handed_over() {
    let _ = NOW.try_with(|now| now.set(Some(Stream::Sending)));
}

pin_project! {
    /// A stream's task, as long as its client takes what it is sent.
    struct Patient<F> {
        #[pin]
        inner: F,
        patience: Duration,
        // Set while the stream has a piece and does not ask for another.
        waiting_since: Option<Instant>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Asking,
    Sending,
}

impl<F: Future<Output = ()>> Future for Patient<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (polled, did) = NOW.sync_scope(Cell::new(None), || {
            let polled = this.inner.poll(cx);
            (polled, NOW.with(Cell::get))
        });
        if polled.is_ready() {
            return Poll::Ready(());
        }
        match did {
            Some(Stream::Sending) => *this.waiting_since = Some(Instant::now()),
            Some(Stream::Asking) => *this.waiting_since = None,
            None => (),
        }
        let Some(since) = *this.waiting_since else {
            return Poll::Pending;
        };
        let until = since + *this.patience;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

tokio::task_local! {
    /// What the stream did last in this poll.
    static NOW: Cell<Option<Stream>>;
}
