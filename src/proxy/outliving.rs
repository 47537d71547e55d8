//! Work that outlives whoever waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Work that whoever waits for it does by polling it, and that goes on by itself when they leave: dropped, it becomes a task. Most work
/// is never left, and costs no task and no waking.
pub(super) struct Outliving<W>
where
    W: Future<Output = ()> + Send + 'static,
{
    /// There until it is done.
    work: Option<Pin<Box<W>>>,
}

impl<W> Outliving<W>
where
    W: Future<Output = ()> + Send + 'static,
{
    /// In a box, since a task moves what it is given several times.
    pub(super) fn new(work: W) -> Self {
        Self {
            work: Some(Box::pin(work)),
        }
    }

    /// Goes on with it. As on a task of its own, a panic ends it and nothing else.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(());
        };
        // What panicked is dropped, and nobody sees the state that it left.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        if matches!(polled, Ok(Poll::Pending)) {
            return Poll::Pending;
        }
        self.work = None;
        Poll::Ready(())
    }
}

impl<W> Drop for Outliving<W>
where
    W: Future<Output = ()> + Send + 'static,
{
    fn drop(&mut self) {
        // Where there is no runtime any more nothing goes on.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_left_in_the_middle_is_done_all_the_same() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, told) = oneshot::channel();
        let mut work = Outliving::new(async move {
            gone.await.unwrap();
            done.send(()).unwrap();
        });
        assert!(poll_fn(|cx| Poll::Ready(work.poll(cx))).await.is_pending());
        drop(work);
        go.send(()).unwrap();
        told.await.unwrap();
    }

    #[tokio::test]
    async fn what_was_never_begun_is_done_all_the_same() {
        let (done, told) = oneshot::channel();
        drop(Outliving::new(async move { done.send(()).unwrap() }));
        told.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_done_is_not_done_again() {
        let (done, mut told) = oneshot::channel();
        let mut work = Outliving::new(async move { done.send(()).unwrap() });
        poll_fn(|cx| work.poll(cx)).await;
        told.try_recv().unwrap();
        poll_fn(|cx| work.poll(cx)).await;
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_alone() {
        let (kept, told) = oneshot::channel::<()>();
        let mut work = Outliving::new(async move {
            let _kept = kept;
            panic!("as a test wants it");
        });
        poll_fn(|cx| work.poll(cx)).await;
        assert!(told.await.is_err(), "it is dropped");
    }
}
