//! From the head of a request to an operation: its body is read, as far as it is held, and with it what names it.

use http::request::Parts;

use super::account::Account;
use super::hold::Holding;
use super::key::{self, Keyed};
use super::limits::{Buffered, InFlight};
use super::operation::Operation;
use super::pass::Passing;
use super::payload::{self, Taken};
use super::policy::Policy;
use super::scope::Around;
use super::source::{self, BodySoFar, Sought};
use super::trail::Trail;
use super::{Forward, Shared};
use crate::idempotency::Key;
use crate::store::Store;
use crate::telemetry::Limit;
use crate::wire::{Body, Code, Problem};

/// What names a request, as far as its head tells.
pub(super) enum Named {
    /// It has a key.
    Keyed(Keyed),
    /// Its body decides.
    InBody,
    /// It has no key, and needs none.
    Nothing,
}

impl Named {
    /// Of a request whose head tells all.
    pub(super) fn of(keyed: Option<Keyed>) -> Self {
        keyed.map_or(Self::Nothing, Self::Keyed)
    }
}

/// What a request comes to of which nothing is claimed.
pub(super) enum Unclaimed {
    /// It has no key; and the memory that its body takes.
    Passing(Box<Passing>, Buffered),
    /// It is refused, keyed or not.
    Refused(Problem),
}

impl From<Problem> for Unclaimed {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl<F: Forward, S: Store> Shared<F, S> {
    /// What names a request; nothing where it has no key, and needs none.
    pub(super) fn name(
        &self,
        key: Option<Key>,
        head: &Parts,
        policy: &Policy,
        trail: &Trail,
    ) -> Result<Option<Keyed>, Problem> {
        let around = Around {
            service: &self.service,
            secret: &self.secret,
            jwt: self.jwt.as_deref(),
            peer: trail.peer(),
            trust_forwarded: &self.trust_forwarded,
            told: None,
        };
        let keyed = key::extract(key, head, policy, around)?;
        if keyed.as_ref().is_some_and(|keyed| keyed.cookies_only) {
            self.metrics.cookies_without_caller.inc();
            tracing::debug!(
                route = policy.route,
                "a keyed request has cookies, and nothing in its scope tells their users apart"
            );
        }
        Ok(keyed)
    }

    /// Reads the body of a request, as far as it is held, and makes an operation of it if it is keyed. Up to here nothing is
    /// claimed, and a client that leaves leaves nothing behind. Written out, as an `async fn` keeps what it is given twice.
    pub(super) fn receive<'a>(
        &'a self,
        named: Named,
        mut taken: Box<Taken>,
        body: Body,
        policy: &'a Policy,
        permit: InFlight,
        account: &'a mut Account,
    ) -> impl Future<Output = Result<Operation, Unclaimed>> + Send + 'a {
        let (known, holding) = match named {
            Named::Keyed(keyed) => (Some(keyed), Holding::keyed(policy)),
            Named::InBody | Named::Nothing => (
                None,
                source::holding(&taken.head, policy, || self.records.now()),
            ),
        };
        let id = known.as_ref().map(|keyed| keyed.id);
        if let Some(keyed) = &known {
            account.name(keyed.id, &keyed.text);
        }
        let mut held = self.limits.buffer();
        async move {
            taken.received =
                payload::read(body, holding, policy, &mut held, self.body_idle_timeout)
                    .await
                    .map_err(|unheld| {
                        if let Some(limit) = unheld.limit() {
                            self.metrics.limit_reached(limit);
                        }
                        match id {
                            Some(id) => unheld.problem().with_id(id.to_string()),
                            None => unheld.problem(),
                        }
                    })?;
            let keyed = match known {
                Some(keyed) => keyed,
                None => {
                    let so_far = BodySoFar::of(&taken.received);
                    let sought = source::find(&taken.head, so_far, policy, || self.records.now());
                    let sought = sought.inspect_err(|problem| {
                        if problem.code == Code::BodyTooLarge {
                            self.metrics.limit_reached(Limit::MaxBufferedRequest);
                        }
                    })?;
                    let key = match sought {
                        Sought::Key(key, _) => Some(key),
                        Sought::Nothing => None,
                        // No source says so of a body that was read; and if one did, it may have a key.
                        Sought::InBody => {
                            return Err(Unclaimed::Refused(Problem::new(
                                Code::BadRequest,
                                "the key may be in the body, where nobody could look for it",
                            )));
                        }
                    };
                    match self.name(key, &taken.head, policy, account.trail())? {
                        Some(keyed) => keyed,
                        None => {
                            let Taken { head, received } = *taken;
                            let passing = Passing {
                                head,
                                received,
                                permit,
                            };
                            return Err(Unclaimed::Passing(Box::new(passing), held));
                        }
                    }
                }
            };
            account.name(keyed.id, &keyed.text);
            let refuse = |code, why| {
                let problem = Problem::new(code, why).with_id(keyed.id.to_string());
                Err(Unclaimed::Refused(problem))
            };
            if self.stop.draining.is_cancelled() {
                return refuse(Code::Draining, "The proxy is stopping.");
            }
            if self.limits.is_behind() {
                self.metrics.limit_reached(Limit::MaxInFlight);
                return refuse(
                    Code::StoreUnavailable,
                    "The store has yet to acknowledge the end of too many claims. Nothing was forwarded.",
                );
            }
            Ok(Operation {
                keyed,
                place: policy.place,
                taken,
                held,
                permit,
            })
        }
    }
}
