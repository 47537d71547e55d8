//! Work that outlives whoever waits for it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tracing::Instrument;

/// Work that whoever waits for it does by polling it, and that goes on by itself when they leave: dropped, it becomes a task. Most work
/// is never left, and costs no task and no waking. As a task it has the span in which it is dropped.
pub(super) struct Outliving<W>(Work<W>)
where
    W: Future<Output = ()> + Unpin + Send + 'static;

enum Work<W> {
    Here(W),
    Over(Done),
}

/// How far work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It is done.
    Yes,
    /// It goes on when it is polled again.
    NotYet,
    /// It goes on by itself, or did.
    Elsewhere,
}

impl<W> Outliving<W>
where
    W: Future<Output = ()> + Unpin + Send + 'static,
{
    /// Work that somebody polls, or drops.
    pub(super) fn new(work: W) -> Self {
        Self(Work::Here(work))
    }

    /// Work that goes on by itself from its beginning.
    pub(super) fn left(work: impl Future<Output = ()> + Send + 'static) -> Self {
        tokio::spawn(work);
        Self(Work::Over(Done::Elsewhere))
    }

    /// Goes on with it. As on a task of its own, a panic ends it and nothing else.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Done {
        match &mut self.0 {
            Work::Over(done) => *done,
            Work::Here(work) => {
                // What panicked is dropped, and nobody sees the state that it left.
                let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(work).poll(cx)));
                if matches!(polled, Ok(Poll::Pending)) {
                    return Done::NotYet;
                }
                self.0 = Work::Over(Done::Yes);
                Done::Yes
            }
        }
    }
}

impl<W> Drop for Outliving<W>
where
    W: Future<Output = ()> + Unpin + Send + 'static,
{
    fn drop(&mut self) {
        // Where there is no runtime any more nothing goes on.
        if let Work::Here(work) = mem::replace(&mut self.0, Work::Over(Done::Elsewhere))
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

    async fn polled<W>(work: &mut Outliving<W>) -> Done
    where
        W: Future<Output = ()> + Unpin + Send + 'static,
    {
        poll_fn(|cx| Poll::Ready(work.poll(cx))).await
    }

    #[tokio::test]
    async fn what_is_left_in_the_middle_is_done_all_the_same() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, told) = oneshot::channel();
        let mut work = Outliving::new(Box::pin(async move {
            gone.await.unwrap();
            done.send(()).unwrap();
        }));
        assert_eq!(polled(&mut work).await, Done::NotYet);
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
        let mut work =
            Outliving::<Pin<Box<Ready<()>>>>::left(async move { done.send(()).unwrap() });
        told.await.unwrap();
        assert_eq!(polled(&mut work).await, Done::Elsewhere);
    }

    #[tokio::test]
    async fn what_is_done_is_not_done_again() {
        let (done, mut told) = oneshot::channel();
        let mut work = Outliving::new(Box::pin(async move { done.send(()).unwrap() }));
        assert_eq!(polled(&mut work).await, Done::Yes);
        told.try_recv().unwrap();
        assert_eq!(polled(&mut work).await, Done::Yes);
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_alone() {
        let (kept, told) = oneshot::channel::<()>();
        let mut work = Outliving::new(Box::pin(async move {
            let _kept = kept;
            panic!("as a test wants it");
        }));
        assert_eq!(polled(&mut work).await, Done::Yes);
        assert!(told.await.is_err(), "it is dropped");
    }
}
