//! Wakes whoever moves a connection on, but not for nothing.

use std::cell::Cell;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use http_body::{Body, Frame};

/// What a connection of hyper is polled with. hyper (1.12) has a connection woken whenever a piece of a body was taken from it, so that it
/// reads on, also after the last piece; that is one poll of three for nothing, and those of all that the connection serves.
#[derive(Debug)]
pub(crate) struct Bell {
    clapper: Arc<Clapper>,
    rope: Waker,
}

#[derive(Debug, Default)]
struct Clapper {
    waiter: AtomicWaker,
}

impl Bell {
    /// Polls the connection. When it rings, this waiter is woken.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.clapper.waiter.register(cx.waker());
        poll(&mut Context::from_waker(&self.rope))
    }

    /// Wakes whoever polled last.
    pub(crate) fn ring(&self) {
        self.clapper.waiter.wake();
    }

    /// Polls for a piece of a body that the connection brings. It rings when one is taken; that is heard unless it was the last.
    #[expect(clippy::type_complexity, reason = "it is that of a body")]
    pub(crate) fn poll_frame<B: Body + Unpin>(
        &self,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let muffled = Muffled::new(&self.clapper);
        let frame = Pin::new(&mut *body).poll_frame(cx);
        if muffled.rang() && !body.is_end_stream() {
            self.ring();
        }
        frame
    }
}

impl Default for Bell {
    fn default() -> Self {
        let clapper = Arc::<Clapper>::default();
        Self {
            rope: Waker::from(clapper.clone()),
            clapper,
        }
    }
}

impl Wake for Clapper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let here = ptr::from_ref(&**self);
        match MUFFLED.get() {
            (bell, _) if bell == here => MUFFLED.set((here, true)),
            _ => self.waiter.wake(),
        }
    }
}

/// While it lives a bell is not heard, as far as it is rung on this thread: whatever else rings it does so from another, or not now.
struct Muffled {
    before: (*const Clapper, bool),
}

impl Muffled {
    fn new(bell: &Clapper) -> Self {
        Self {
            before: MUFFLED.replace((bell, false)),
        }
    }

    /// Lifts it, and says whether the bell was rung.
    fn rang(self) -> bool {
        MUFFLED.get().1
    }
}

impl Drop for Muffled {
    fn drop(&mut self) {
        MUFFLED.set(self.before);
    }
}

thread_local! {
    /// The bell that is not heard on this thread, and whether it was rung. Its address is compared, and never followed.
    static MUFFLED: Cell<(*const Clapper, bool)> = const { Cell::new((ptr::null(), false)) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        /// Gives the waker that the connection has.
        fn waits_for(self: &Arc<Self>, bell: &Bell) -> Waker {
            let waker = Waker::from(self.clone());
            let mut rope = None;
            let polled = bell.poll(&mut Context::from_waker(&waker), |cx| {
                rope = Some(cx.waker().clone());
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
            rope.unwrap_or(waker)
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn it_rings_for_who_polled_last() {
        let bell = Bell::default();
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let rope = first.waits_for(&bell);
        second.waits_for(&bell);
        rope.wake_by_ref();
        assert_eq!((first.woken(), second.woken()), (0, 1));
        first.waits_for(&bell);
        rope.wake();
        assert_eq!((first.woken(), second.woken()), (1, 1));
    }

    /// A body that rings as a piece is taken, and says whether that was the last.
    struct Ringing<R> {
        ring: R,
        is_last: bool,
    }

    impl<R: Fn() + Unpin> Body for Ringing<R> {
        type Data = &'static [u8];
        type Error = ();

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, ()>>> {
            (self.ring)();
            Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            self.is_last
        }
    }

    fn take(bell: &Bell, ring: impl Fn() + Unpin, is_last: bool) {
        let mut cx = Context::from_waker(Waker::noop());
        let taken = bell.poll_frame(&mut Ringing { ring, is_last }, &mut cx);
        assert!(matches!(taken, Poll::Ready(None)));
    }

    #[test]
    fn what_rings_as_a_piece_is_taken_is_heard_unless_that_was_the_last() {
        let (bell, waiter) = (Bell::default(), Arc::new(Count::default()));
        for (is_last, woken) in [(true, 0), (false, 1)] {
            let rope = waiter.waits_for(&bell);
            take(&bell, || rope.wake_by_ref(), is_last);
            assert_eq!(waiter.woken(), woken);
        }
        let rope = waiter.waits_for(&bell);
        take(&bell, || (), false);
        assert_eq!(waiter.woken(), 1, "nobody rang");
        rope.wake();
        assert_eq!(waiter.woken(), 2, "it is heard again");
    }

    #[test]
    fn another_thread_and_another_bell_are_heard_meanwhile() {
        let (bell, other) = (Bell::default(), Bell::default());
        let waiter = Arc::new(Count::default());
        let rope = waiter.waits_for(&bell);
        let ring = || std::thread::scope(|scope| drop(scope.spawn(|| rope.wake_by_ref()).join()));
        take(&bell, ring, true);
        assert_eq!(waiter.woken(), 1);
        let other_rope = waiter.waits_for(&other);
        take(&bell, || other_rope.wake_by_ref(), true);
        assert_eq!(waiter.woken(), 2);
        waiter.waits_for(&bell);
        let nested = || {
            take(&other, || (), true);
            rope.wake_by_ref();
        };
        take(&bell, nested, true);
        assert_eq!(waiter.woken(), 2, "it is muffled still");
    }
}
