//! Threads that serve side by side, each with a runtime of its own.
//!
//! A request stays on the lane of its client's connection, with all that it needs there: the connections to upstream and store are that
//! lane's own. Nothing of it is handed from thread to thread, and no thread wakes another for it, which costs more than the rest.
//! Where there are no lanes, in tests and in programs of others, all runs on the runtime where it is begun.

mod hearing;
mod sleep;
mod tasks;
mod turn;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinError;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use hearing::Hearing;
#[cfg(test)]
pub(crate) use sleep::be_on_a_lane;
pub(crate) use sleep::{nap_before, sleep_until};
pub use tasks::Tasks;
pub(crate) use turn::{looked, now, turn};

/// The lanes that there are. A copy is the same ones.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Arc<[Handle]>);

impl Lanes {
    /// How many; one where all runs where it is begun.
    pub fn count(&self) -> usize {
        self.0.len().max(1)
    }

    /// The runtime of a lane, if it has one of its own.
    pub fn runtime(&self, lane: usize) -> Option<&Handle> {
        self.0.get(lane)
    }

    /// Makes one of a thing on each lane.
    ///
    /// # Errors
    ///
    /// The first one's.
    pub async fn each<T, E, F>(&self, make: impl Fn() -> F) -> Result<PerLane<T>, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        if self.0.is_empty() {
            return Ok(PerLane([make().await?].into()));
        }
        let spawn = |runtime: &Handle| AbortOnDropHandle::new(runtime.spawn(make()));
        let made = futures_util::future::join_all(self.0.iter().map(spawn)).await;
        let mut all = Vec::with_capacity(made.len());
        for made in made {
            match made.map_err(JoinError::try_into_panic) {
                Ok(made) => all.push(made?),
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // The lane ended, and so does all else.
                Err(Err(_)) => return std::future::pending().await,
            }
        }
        Ok(PerLane(all.into()))
    }
}

/// One of a thing for each lane; of fewer than there are lanes, some have one together. A copy shares them.
#[derive(Debug)]
pub struct PerLane<T>(Arc<[T]>);

impl<T> PerLane<T> {
    /// One for each of so many, and one at least.
    pub fn new(lanes: usize, make: impl FnMut(usize) -> T) -> Self {
        Self((0..lanes.max(1)).map(make).collect())
    }

    /// One for each of [`SOME`] lanes, which those after them share: for where it is not known how many there are.
    pub fn of_some(make: impl FnMut(usize) -> T) -> Self {
        Self::new(SOME, make)
    }

    /// That of the lane where this is called; elsewhere the first.
    pub fn mine(&self) -> &T {
        &self.0[LANE.get().unwrap_or_default() % self.0.len()]
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// One made of each.
    pub fn map<U>(&self, make: impl FnMut(&T) -> U) -> PerLane<U> {
        PerLane(self.0.iter().map(make).collect())
    }
}

impl<T> Clone for PerLane<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// So many lanes have one each of what [`PerLane::of_some`] makes: more of them would take more memory where there are few lanes.
pub(crate) const SOME: usize = 8;

thread_local! {
    /// The number of this lane; nothing where there are none.
    static LANE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The threads of the lanes.
pub struct Threads {
    lanes: Lanes,
    stop: DropGuard,
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
    last_words: Duration,
}

impl Threads {
    /// Starts so many. Each waits at its end for what blocks, `last_words` long at most.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn start(count: usize, last_words: Duration) -> io::Result<Self> {
        let runtime = || {
            let mut builder = Builder::new_current_thread();
            builder.enable_all().on_thread_park(hearing::asks).build()
        };
        let runtimes = (0..count).map(|_| runtime());
        let runtimes: Vec<Runtime> = runtimes.collect::<Result<_, _>>()?;
        let lanes = Lanes(runtimes.iter().map(|it| it.handle().clone()).collect());
        let stop = CancellationToken::new();
        let (stop, stopped) = (stop.clone().drop_guard(), stop);
        let (ending, ended) = channel();
        let run = |(lane, runtime): (usize, Runtime)| {
            let (stop, ending) = (stopped.clone(), ending.clone());
            let thread = std::thread::Builder::new().name(format!("lane-{lane}"));
            thread.spawn(move || {
                LANE.set(Some(lane));
                sleep::begin();
                runtime.block_on(stop.cancelled());
                runtime.shutdown_timeout(last_words);
                // Nobody waits any more: then it is late.
                let _ = ending.send(());
            })
        };
        let threads = runtimes.into_iter().enumerate().map(run);
        Ok(Self {
            threads: threads.collect::<Result<_, _>>()?,
            lanes,
            stop,
            ended,
            last_words,
        })
    }

    /// Where to run something.
    pub fn lanes(&self) -> Lanes {
        self.lanes.clone()
    }

    /// Ends them, and what still runs there with them. One that does not end in time, as it waits for a disk or is at work, is left to
    /// the end of the process.
    pub fn stop(self) {
        drop(self.stop);
        let late = Instant::now() + self.last_words * 2;
        let in_time = (0..self.threads.len()).all(|_| {
            let left = late.saturating_duration_since(Instant::now());
            self.ended.recv_timeout(left).is_ok()
        });
        if in_time {
            for thread in self.threads {
                // A panic of a task is that task's; there is nothing else to tell.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_lane_has_one_of_its_own() {
        let threads = Threads::start(3, Duration::from_secs(1)).unwrap();
        let lanes = threads.lanes();
        let make = || async { Ok::<_, ()>(std::thread::current().name().map(str::to_owned)) };
        let names = lanes.each(make).await.unwrap();
        let names: Vec<_> = names.iter().flatten().collect();
        assert_eq!(names, ["lane-0", "lane-1", "lane-2"]);
        let numbers = PerLane::new(lanes.count(), |lane| lane);
        for lane in 0..3 {
            let numbers = numbers.clone();
            let mine = lanes
                .runtime(lane)
                .unwrap()
                .spawn(async move { *numbers.mine() });
            assert_eq!(mine.await.unwrap(), lane);
        }
        assert_eq!(*numbers.mine(), 0, "elsewhere it is the first");
        tokio::task::spawn_blocking(|| threads.stop())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn without_lanes_it_is_made_where_it_is_asked_for() {
        let here = std::thread::current().id();
        let lanes = Lanes::default();
        let made = lanes.each(|| async { Ok::<_, ()>(std::thread::current().id()) });
        assert_eq!(*made.await.unwrap().mine(), here);
        let failed = lanes.each(|| async { Err::<(), _>("no") });
        assert_eq!(failed.await.unwrap_err(), "no");
    }
}
