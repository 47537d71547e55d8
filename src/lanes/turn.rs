//! What is done at once, for which one look at the clock is enough.
//!
//! A look at the clock takes tens of nanoseconds, and a request would look at every step. What a connection does each time that it is
//! polled mostly takes microseconds, with a large body milliseconds: where those do not matter, all of it asks with [`now`] and gets the
//! time of the last look. It is not for what decides whether something may be sent, nor for how long something took that is done at once:
//! the process may stand still in between. The store in memory goes by it, as whoever holds a claim counts from no later look. A time that
//! is too early lets the records of others live longer there, and what is written then end sooner.

use std::cell::Cell;

use tokio::time::Instant;

/// Does something at once, for which [`now`] looks at the clock once, and goes on from later looks of others. One within another looks anew.
pub(crate) fn turn<T>(work: impl FnOnce() -> T) -> T {
    let _end = End(TURN.replace(Turn::Begun));
    work()
}

/// The time at which this was first asked in this [`turn`], or at which the clock was [`looked`] at since: never later than now, and earlier
/// by no more than the turn has taken so far. Outside of one, now.
pub(crate) fn now() -> Instant {
    match TURN.get() {
        Turn::At(time) => time,
        Turn::Begun => {
            let time = Instant::now();
            TURN.set(Turn::At(time));
            time
        }
        Turn::None => Instant::now(),
    }
}

/// The clock was looked at, and said `time`: this [`turn`] goes on from there.
pub(crate) fn looked(time: Instant) {
    // Where nobody has asked yet, that look may have been in another one.
    if let Turn::At(before) = TURN.get() {
        TURN.set(Turn::At(before.max(time)));
    }
}

#[derive(Clone, Copy)]
enum Turn {
    None,
    /// Nobody has asked yet.
    Begun,
    At(Instant),
}

/// What was before goes on with it.
struct End(Turn);

impl Drop for End {
    fn drop(&mut self) {
        TURN.set(self.0);
    }
}

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn::None) };
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn each_turn_asks_anew() {
        let began = Instant::now();
        tokio::time::advance(STEP).await;
        assert_eq!(now(), began + STEP);
        assert_eq!(turn(now), began + STEP);
        tokio::time::advance(STEP).await;
        assert_eq!((now(), turn(now)), (began + STEP * 2, began + STEP * 2));
    }

    #[test]
    fn a_turn_has_one_time_whatever_comes_between() {
        turn(|| {
            let time = now();
            turn(now);
            assert!(catch_unwind(AssertUnwindSafe(|| turn(|| panic!("on purpose")))).is_err());
            assert_eq!(now(), time);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_goes_on_from_the_last_look_at_the_clock() {
        let began = Instant::now();
        tokio::time::advance(STEP).await;
        turn(|| {
            looked(began);
            assert_eq!(now(), began + STEP, "it had not asked yet");
            looked(began);
            assert_eq!(now(), began + STEP, "time does not go back");
            looked(began + STEP * 2);
            assert_eq!(now(), began + STEP * 2);
        });
        looked(began);
        assert_eq!(now(), began + STEP, "outside of one it is now");
    }
}
