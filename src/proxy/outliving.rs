//! Work that outlives whoever waits for it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// Work that whoever waits for it does by polling it, and that goes on by itself when they leave: dropped, it becomes a task. Most work
/// is never left, and costs no task and no waking. As a task it has the span in which it is dropped.
pub(super) struct Outliving<W>(Work<W>)
where
    W: Future<Output: Send + 'static> + Unpin + Send + 'static;

enum Work<W: Future> {
    Here(W),
    Elsewhere(JoinHandle<W::Output>),
    Over,
}

impl<W> Outliving<W>
where
    W: Future<Output: Send + 'static> + Unpin + Send + 'static,
{
    /// Work that somebody polls, or drops.
    pub(super) fn new(work: W) -> Self {
        Self(Work::Here(work))
    }

    /// Work that goes on by itself from its beginning.
    pub(super) fn left(work: impl Future<Output = W::Output> + Send + 'static) -> Self {
        Self(Work::Elsewhere(tokio::spawn(work)))
    }

    /// Goes on with it, up to what comes of it: nothing if it panics, or came to its end before. As on a task of its own, a panic ends
    /// it and nothing else.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<W::Output>> {
        let polled = match &mut self.0 {
            Work::Over => return Poll::Ready(None),
            // What panicked is dropped, and nobody sees the state that it left.
            Work::Here(work) => catch_unwind(AssertUnwindSafe(|| Pin::new(work).poll(cx))).ok(),
            Work::Elsewhere(task) => match Pin::new(task).poll(cx) {
                Poll::Ready(ended) => ended.ok().map(Poll::Ready),
                Poll::Pending => Some(Poll::Pending),
            },
        };
        let ended = match polled {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(output)) => Some(output),
            None => None,
        };
        self.0 = Work::Over;
        Poll::Ready(ended)
    }
}

impl<W> Drop for Outliving<W>
where
    W: Future<Output: Send + 'static> + Unpin + Send + 'static,
{
    fn drop(&mut self) {
        // Where there is no runtime any more nothing goes on.
        if let Work::Here(work) = mem::replace(&mut self.0, Work::Over)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work.in_current_span());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::future::{Ready, poll_fn};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_left_in_the_middle_is_done_all_the_same() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, told) = oneshot::channel();
        let mut work = Outliving::new(Box::pin(async move {
            gone.await.unwrap();
            done.send(()).unwrap();
        }));
        poll_fn(|cx| {
            assert!(work.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(work);
        go.send(()).unwrap();
        told.await.unwrap();
    }

    #[tokio::test]
    async fn what_nobody_polls_is_done_where_it_is_dropped_or_left() {
        let (done, told) = oneshot::channel();
        drop(Outliving::new(Box::pin(
            async move { done.send(()).unwrap() },
        )));
        told.await.unwrap();
        let (done, told) = oneshot::channel();
        drop(Outliving::<Pin<Box<Ready<()>>>>::left(async move {
            done.send(()).unwrap();
        }));
        told.await.unwrap();
    }

    #[tokio::test]
    async fn what_comes_of_it_is_told_once_wherever_it_is_done() {
        let here = Outliving::new(Box::pin(std::future::ready(1)));
        let elsewhere = Outliving::<Pin<Box<Ready<i32>>>>::left(async { 1 });
        for mut work in [here, elsewhere] {
            assert_eq!(poll_fn(|cx| work.poll(cx)).await, Some(1));
            assert_eq!(poll_fn(|cx| work.poll(cx)).await, None);
        }
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_alone() {
        async fn panics(_kept: oneshot::Sender<()>) {
            panic!("as a test wants it");
        }
        let (kept, told) = oneshot::channel();
        let mut here = Outliving::new(Box::pin(panics(kept)));
        assert_eq!(poll_fn(|cx| here.poll(cx)).await, None);
        assert!(told.await.is_err(), "it is dropped");
        let (kept, told) = oneshot::channel();
        let mut elsewhere = Outliving::<Pin<Box<Ready<()>>>>::left(panics(kept));
        assert_eq!(poll_fn(|cx| elsewhere.poll(cx)).await, None);
        assert!(told.await.is_err(), "it is dropped");
    }
}
