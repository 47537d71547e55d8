//! Sleeping, which mostly ends before anything had to be done for it.

use std::cell::RefCell;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

/// Sleeps until `deadline`.
///
/// Each request sleeps several times, beside what comes long before its deadline, and to make and to give up a timer takes more than most
/// of what else it does. On a lane those whose deadline is far wait together for the lane's next tick, and only who still sleeps then
/// makes a timer. Elsewhere it is tokio's. A tick wakes all who nap at once: of what takes long, so many make their timers together.
pub(crate) async fn sleep_until(deadline: Instant) {
    nap_before(deadline).await;
    // Apart, since few come to it.
    Box::pin(tokio::time::sleep_until(deadline)).await;
}

/// A [`Nap`], for whoever waits for several things, of which none is likely before the tick.
pub(crate) fn nap_before(deadline: Instant) -> impl Future<Output = ()> {
    Nap::before(deadline)
}

/// The first part of a sleep: up to the lane's next tick, and over at once where that may be too late, or where there are no lanes.
#[derive(Debug)]
struct Nap {
    deadline: Instant,
    place: Option<Place>,
}

/// Where a waker is kept, and up to which tick.
#[derive(Clone, Copy, Debug)]
struct Place {
    tick: u64,
    key: usize,
}

/// Those who nap on one lane.
struct Naps {
    /// The number of the next tick, which no other lane's tick has.
    tick: u64,
    /// When the next tick comes, if somebody ticks.
    due: Option<Instant>,
    wakers: Slab<Waker>,
}

thread_local! {
    /// Nothing where there are no lanes.
    static NAPS: RefCell<Option<Naps>> = const { RefCell::new(None) };
}

/// This thread is a lane's.
pub(super) fn begin() {
    let naps = Naps {
        tick: next_tick(),
        due: None,
        wakers: Slab::new(),
    };
    NAPS.set(Some(naps));
}

/// Whether this thread is a lane's, of which others may have decided before.
#[cfg(test)]
pub(crate) fn be_on_a_lane(is: bool) {
    NAPS.set(None);
    if is {
        begin();
    }
}

fn next_tick() -> u64 {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    TICKS.fetch_add(1, Ordering::Relaxed)
}

/// What one who naps has to do.
enum Step {
    Wait,
    /// Wait, and have somebody tick.
    Start(Ticker),
    End,
}

impl Nap {
    fn before(deadline: Instant) -> Self {
        Self {
            deadline,
            place: None,
        }
    }

    fn step(&mut self, waker: &Waker) -> Step {
        // What is dropped of a waker is dropped outside: its task may go with it, and others who nap with that.
        let (step, _before) = NAPS.with_borrow_mut(|naps| {
            let Some(naps) = naps else {
                return (Step::End, None);
            };
            match self.place {
                Some(Place { tick, .. }) if tick != naps.tick => (Step::End, None),
                Some(Place { key, .. }) => {
                    let kept = &mut naps.wakers[key];
                    let other = !kept.will_wake(waker);
                    let before = other.then(|| mem::replace(kept, waker.clone()));
                    (Step::Wait, before)
                }
                None => {
                    let (due, started) = match naps.due {
                        Some(due) => (due, false),
                        None => (Instant::now() + PERIOD, true),
                    };
                    if self.deadline < due + LATE {
                        return (Step::End, None);
                    }
                    naps.due = Some(due);
                    self.place = Some(Place {
                        tick: naps.tick,
                        key: naps.wakers.insert(waker.clone()),
                    });
                    let step = if started {
                        Step::Start(Ticker { due })
                    } else {
                        Step::Wait
                    };
                    (step, None)
                }
            }
        });
        step
    }
}

impl Future for Nap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.step(cx.waker()) {
            Step::Wait => Poll::Pending,
            Step::Start(ticker) => {
                tokio::spawn(ticker.run());
                Poll::Pending
            }
            Step::End => Poll::Ready(()),
        }
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        let Some(Place { tick, key }) = self.place else {
            return;
        };
        // Of a thread that ends there is nothing to take back; and what is dropped on another lane is woken for nothing.
        let _waker = NAPS.try_with(|naps| {
            let mut naps = naps.borrow_mut();
            let naps = naps.as_mut().filter(|naps| naps.tick == tick)?;
            naps.wakers.try_remove(key)
        });
    }
}

/// Who ticks, as long as somebody naps. Whenever it ends, before its time too, nobody is left waiting for it.
struct Ticker {
    due: Instant,
}

impl Ticker {
    async fn run(mut self) {
        loop {
            tokio::time::sleep_until(self.due).await;
            self.due = Instant::now() + PERIOD;
            if !tick(Some(self.due)) {
                return;
            }
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        tick(None);
    }
}

/// Wakes all who nap on this lane, and says whether anybody did; if so, the next tick is `next`.
fn tick(next: Option<Instant>) -> bool {
    let woken = NAPS.try_with(|naps| {
        let mut naps = naps.borrow_mut();
        let naps = naps.as_mut()?;
        naps.tick = next_tick();
        naps.due = next.filter(|_| !naps.wakers.is_empty());
        Some(mem::take(&mut naps.wakers))
    });
    let mut woken = woken.ok().flatten().unwrap_or_default();
    let any = !woken.is_empty();
    woken.drain().for_each(Waker::wake);
    any
}

/// From tick to tick.
const PERIOD: Duration = Duration::from_millis(500);
/// How late a tick may be, and nobody who waits for it oversleeps.
const LATE: Duration = Duration::from_millis(100);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;
    use crate::lanes::Threads;

    const HOUR: Duration = Duration::from_secs(3600);

    fn far() -> Nap {
        Nap::before(Instant::now() + HOUR)
    }

    fn napping() -> usize {
        NAPS.with_borrow(|naps| naps.as_ref().map_or(0, |naps| naps.wakers.len()))
    }

    fn ticks() -> bool {
        NAPS.with_borrow(|naps| naps.as_ref().is_some_and(|naps| naps.due.is_some()))
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_sleeps_until_the_deadline_wherever_and_whenever() {
        let sleeps = || async {
            for _ in 0..3 {
                let sleep = |millis| async move {
                    let (began, length) = (Instant::now(), Duration::from_millis(millis));
                    sleep_until(began + length).await;
                    assert_eq!(began.elapsed(), length);
                };
                let lengths = [0, 1, 250, 499, 500, 501, 599, 600, 601, 1100, 5000];
                futures_util::future::join_all(lengths.map(sleep)).await;
                tokio::time::sleep(PERIOD / 3).await;
            }
        };
        sleeps().await;
        begin();
        tokio::join!(sleeps(), async {
            // Others come in between two ticks.
            tokio::time::sleep(PERIOD / 2).await;
            sleeps().await;
        });
    }

    #[tokio::test]
    async fn on_a_lane_one_naps() {
        let threads = Threads::start(1, Duration::from_secs(1)).unwrap();
        let naps = async { far().now_or_never().is_none() && ticks() };
        let naps = threads.lanes().runtime(0).unwrap().spawn(naps).await;
        assert!(naps.unwrap() && far().now_or_never().is_some());
        tokio::task::spawn_blocking(|| threads.stop())
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_nap_are_woken_by_one_tick() {
        begin();
        let began = Instant::now();
        let later = async {
            tokio::time::sleep(PERIOD / 2).await;
            far().await;
        };
        tokio::join!(far(), far(), later);
        assert_eq!((began.elapsed(), napping()), (PERIOD, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_before_is_forgotten_and_nobody_else() {
        begin();
        let (mut stays, mut leaves) = (far(), far());
        assert!((&mut stays).now_or_never().is_none() && (&mut leaves).now_or_never().is_none());
        assert_eq!(napping(), 2);
        drop(leaves);
        assert_eq!(napping(), 1);
        let mut late = far();
        assert!((&mut late).now_or_never().is_none());
        (&mut stays).await;
        // In the place that the late one had before the tick.
        let mut next = far();
        assert!((&mut next).now_or_never().is_none());
        drop(late);
        drop(stays);
        assert_eq!(napping(), 1);
        next.await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_polled_last_is_woken() {
        begin();
        let mut moved = far();
        assert!((&mut moved).now_or_never().is_none());
        let moved = tokio::spawn(moved);
        assert!(timeout(HOUR, moved).await.is_ok_and(|ended| ended.is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_ticks_for_nobody() {
        begin();
        far().await;
        assert!(ticks());
        tokio::time::sleep(PERIOD * 2).await;
        assert!(!ticks());
        far().await;
    }

    #[test]
    fn if_whoever_ticks_ends_early_all_are_woken_and_another_one_ticks() {
        begin();
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap()
        };
        let ended = runtime();
        let mut nap = {
            let _within = ended.enter();
            far()
        };
        ended.block_on(async { assert!((&mut nap).now_or_never().is_none() && ticks()) });
        drop(ended);
        assert!(!ticks());
        assert_eq!((&mut nap).now_or_never(), Some(()));
        runtime().block_on(far());
    }

    /// A task that naps twice: whoever drops it drops the other nap.
    struct Task(#[expect(dead_code, reason = "it is dropped")] Nap);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    fn waker_of_one_who_naps() -> Waker {
        let mut nap = far();
        assert!((&mut nap).now_or_never().is_none());
        Waker::from(Arc::new(Task(nap)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_waker_may_take_others_who_nap_with_it() {
        begin();
        let mut nap = far();
        for _ in 0..2 {
            // The second one takes the first one's place.
            let waker = waker_of_one_who_naps();
            assert!(
                nap.poll_unpin(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        assert_eq!(napping(), 2);
        drop(nap);
        assert_eq!(napping(), 0);
        let (mut nap, waker) = (far(), waker_of_one_who_naps());
        assert!(
            nap.poll_unpin(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        far().await;
        assert_eq!(napping(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_on_another_lane_does_not_wait_for_this_one() {
        begin();
        let mut moved = far();
        assert!((&mut moved).now_or_never().is_none());
        begin();
        let mut own = far();
        assert!((&mut own).now_or_never().is_none());
        assert_eq!((&mut moved).now_or_never(), Some(()));
        drop(moved);
        assert_eq!(napping(), 1);
    }
}
