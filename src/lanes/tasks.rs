//! Work that the end of a program waits for.

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

use super::PerLane;

/// Work that the end of a program waits for. A copy is the same.
///
/// Each lane counts its own: every request is counted, and threads that count together wait for one another. What work begins is counted
/// where that runs, so that there is no moment between the two.
#[derive(Clone, Debug)]
pub struct Tasks(PerLane<TaskTracker>);

impl Default for Tasks {
    fn default() -> Self {
        Self(PerLane::of_some(|_| TaskTracker::new()))
    }
}

impl Tasks {
    /// Runs a task that is waited for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.mine().spawn(task)
    }

    /// Has `work` waited for, whoever polls it, until it is dropped.
    pub fn track_future<F: Future>(&self, work: F) -> TrackedFuture<F> {
        self.0.mine().track_future(work)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(TaskTracker::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(TaskTracker::is_empty)
    }

    /// Waits until there are none, of whatever is begun meanwhile either.
    pub async fn ended(&self) {
        for lane in self.0.iter() {
            lane.close();
        }
        while !self.is_empty() {
            for lane in self.0.iter() {
                lane.wait().await;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::super::Threads;
    use super::*;

    #[tokio::test]
    async fn the_end_comes_once_every_lane_has_ended_its_work() {
        let threads = Threads::start(3, Duration::from_secs(1)).unwrap();
        let tasks = Tasks::default();
        assert!(tasks.ended().now_or_never().is_some(), "there are none");
        let mut ends = Vec::new();
        for lane in 0..3 {
            let (end, ended) = oneshot::channel::<()>();
            let tasks = tasks.clone();
            let begun = async move { drop(tasks.spawn(ended)) };
            let runtime = threads.lanes().runtime(lane).unwrap().clone();
            runtime.spawn(begun).await.unwrap();
            ends.push(end);
        }
        let here = tasks.track_future(std::future::pending::<()>());
        assert_eq!(tasks.len(), 4);
        let mut ended = Box::pin(tasks.ended());
        for end in ends {
            assert!(ended.as_mut().now_or_never().is_none());
            end.send(()).unwrap();
        }
        assert!(ended.as_mut().now_or_never().is_none());
        drop(here);
        ended.await;
        assert!(tasks.is_empty());
        tokio::task::spawn_blocking(|| threads.stop())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn work_that_a_lane_gets_meanwhile_is_waited_for() {
        let threads = Threads::start(2, Duration::from_secs(1)).unwrap();
        let (tasks, (end, ended)) = (Tasks::default(), oneshot::channel::<()>());
        let (second, begun) = (threads.lanes().runtime(1).unwrap().clone(), tasks.clone());
        let begun = async move { drop(begun.spawn(ended)) };
        second.spawn(begun).await.unwrap();
        let mut all = Box::pin(tasks.ended());
        assert!(all.as_mut().now_or_never().is_none());
        // The first lane had none before.
        let here = tasks.track_future(std::future::pending::<()>());
        end.send(()).unwrap();
        while tasks.len() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(all.as_mut().now_or_never().is_none());
        drop(here);
        all.await;
        tokio::task::spawn_blocking(|| threads.stop())
            .await
            .unwrap();
    }
}
