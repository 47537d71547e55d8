//! Instead of step four: a duplicate waits for the first answer.
//!
//! It waits in the future of its own client, and a client that leaves takes it along. It holds no body, no leave to run, and no
//! connection to store or upstream.

use std::sync::Arc;

use http::request::Parts;

use super::acquire::Denied;
use super::key::Keyed;
use super::operation::no_room;
use super::policy::Policy;
use super::probe::{self, Vouched};
use super::respond::{self, Answer};
use super::trail::Trail;
use super::waiters::{Look, Place, Watch};
use super::{Forward, Shared, problem};
use crate::idempotency::{Attempt, Awaited, Refusal, Seen, State, Verdict, awaited, shown};
use crate::store::Store;
use crate::telemetry::Outcome;

/// A duplicate that waits.
pub(super) struct Waiting {
    /// What names it.
    pub(super) keyed: Keyed,
    /// The policy that it began with.
    pub(super) policy: Arc<Policy>,
    /// What it would have claimed with, and is compared by.
    pub(super) attempt: Attempt,
    /// Its head, where the upstream may be asked about its credentials.
    pub(super) head: Option<Parts>,
    /// The leave to wait.
    pub(super) place: Place,
}

impl Waiting {
    /// Waits for the end of the claim that it met: no longer than `wait_timeout`, than the `patience` with its client, and than the
    /// proxy accepts anything new.
    pub(super) async fn answer<F: Forward, S: Store>(
        self,
        proxy: &Arc<Shared<F, S>>,
        patience: impl Future<Output = ()>,
        trail: &Trail,
    ) -> Answer {
        let mut watch = proxy
            .waiters
            .watch(self.keyed.id, &proxy.records, &proxy.tasks);
        let last = tokio::select! {
            // What is there is taken, though the time is up in the same moment.
            biased;
            last = self.end(&mut watch) => last,
            () = proxy.stop.draining.cancelled() => watch.last(),
            () = tokio::time::sleep(self.policy.wait_timeout) => watch.last(),
            () = patience => watch.last(),
        };
        drop(watch);
        let Some(look) = last else {
            // It was in flight when it was met, and nobody has heard anything else.
            return Answer::problem(problem::in_progress(self.keyed.id, State::InFlight));
        };
        match &look.seen {
            Ok(None) => Answer::problem(problem::gone(self.keyed.id)),
            Ok(Some(seen)) => self.by(seen, &look, proxy, trail).await,
            Err(error) => Answer::problem(problem::denied(
                Denied::NoStore(error.clone()),
                self.keyed.id,
            )),
        }
    }

    /// The look that ends the wait.
    async fn end(&self, watch: &mut Watch) -> Option<Arc<Look>> {
        loop {
            if let Some(look) = watch.last() {
                let over = match &look.seen {
                    Ok(seen) => self.makes_of(seen.as_ref()) != Awaited::Running,
                    // A store that is away may come back in time.
                    Err(error) => error.is_unreadable(),
                };
                if over {
                    return Some(look);
                }
            }
            if !watch.changed().await {
                return watch.last();
            }
        }
    }

    fn makes_of(&self, seen: Option<&Seen>) -> Awaited {
        awaited(seen, &self.attempt, self.policy.unknown_outcome)
    }

    async fn by<F: Forward, S: Store>(
        self,
        seen: &Seen,
        look: &Arc<Look>,
        proxy: &Arc<Shared<F, S>>,
        trail: &Trail,
    ) -> Answer {
        let refusal = match self.makes_of(Some(seen)) {
            Awaited::Replay => return self.replay(seen, look, proxy),
            Awaited::Refuse(Refusal::CredentialsChanged(status)) => {
                match self.vouch(proxy, trail).await {
                    Vouched::Yes => match shown(&seen.record) {
                        Verdict::Refuse(refusal) => refusal,
                        _ => return self.replay(seen, look, proxy),
                    },
                    Vouched::No => Refusal::CredentialsChanged(status),
                    Vouched::Asking => return Answer::problem(problem::vouched(self.keyed.id)),
                }
            }
            Awaited::Refuse(refusal) => refusal,
            Awaited::Running => Refusal::InProgress,
        };
        Answer::problem(problem::refusal(refusal, self.keyed.id, seen))
    }

    /// Its place is held until the answer is with the client, as others hold the leave to run; so is the memory, which all who wait
    /// share.
    fn replay<F, S>(self, seen: &Seen, look: &Arc<Look>, proxy: &Shared<F, S>) -> Answer {
        if look.room.is_none() {
            return no_room(proxy, self.keyed.id);
        }
        let (record, held) = (seen.record.clone(), (self.place, look.clone()));
        let mut answer = respond::replay(&proxy.voice.names, self.keyed.id, record, held);
        if answer.outcome == Outcome::Replayed {
            answer.outcome = Outcome::Waited;
        }
        answer
    }

    async fn vouch<F: Forward, S: Store>(
        &self,
        proxy: &Arc<Shared<F, S>>,
        trail: &Trail,
    ) -> Vouched {
        match &self.head {
            Some(head) => {
                let vouched =
                    probe::vouch(proxy, &self.keyed, head, trail, &self.policy, &self.attempt);
                Box::pin(vouched).await
            }
            None => Vouched::No,
        }
    }
}
