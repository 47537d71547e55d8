//! A bound on what is mostly there already.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::task::{Unconstrained, unconstrained};
use tokio::time::{Sleep, sleep};

/// What a future comes to within `patience`, which begins when it is first found pending. As tokio's `timeout`, but neither is the clock
/// read nor a timer made where nothing has to be waited for.
pub(crate) async fn in_time<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    // Apart, since few make one.
    let mut timer = None::<Pin<Box<Unconstrained<Sleep>>>>;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        // Not counted as progress: else one that is pending as it made too much would have no end.
        let timer = timer.get_or_insert_with(|| Box::pin(unconstrained(sleep(patience))));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_given_up_when_patience_is_over() {
        let began = Instant::now();
        assert_eq!(in_time(PATIENCE, pending::<()>()).await, None);
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_taken() {
        assert_eq!(in_time(Duration::ZERO, ready(1)).await, Some(1));
        let late = async {
            sleep(PATIENCE / 2).await;
            2
        };
        assert_eq!(in_time(PATIENCE, late).await, Some(2));
    }

    /// Without a runtime a timer would panic.
    #[test]
    fn what_is_there_already_takes_no_timer() {
        let taken = futures_util::FutureExt::now_or_never(in_time(PATIENCE, ready(())));
        assert_eq!(taken, Some(Some(())));
    }
}
