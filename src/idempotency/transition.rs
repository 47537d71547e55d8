//! What follows from what: the tables of the life of a key, pure.

use std::mem;
use std::time::Duration;

use super::digest::Digest;
use super::expect::Expect;
use super::fingerprint::Fingerprint;
use super::origin::Origin;
use super::record::{Record, State, StoredResponse, UnixMillis};
use super::token::Token;
use super::trace::Trace;
use crate::fault::{Seeded, seeded};

/// The durations that a claim writes into its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a claim is honoured without a heartbeat.
    pub lease: Duration,
    /// How long a completed record is kept.
    pub retention: Duration,
    /// How long a released record is kept.
    pub failed_retention: Duration,
    /// How long a record in flight or unknown is kept.
    pub unknown_retention: Duration,
}

/// A request that asks for its operation.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The token under which it would execute.
    pub token: Token,
    /// Durations of its policy.
    pub terms: Terms,
    /// When it came in.
    pub now: UnixMillis,
    /// Its fingerprint, as far as its body is known.
    pub payload: Payload,
    /// Digest of its credentials.
    pub credentials: Option<Digest>,
    /// Whether the scope takes its caller from those: then a stored answer is shown under the same alone.
    pub named: bool,
    /// Whether those were verified by themselves.
    pub verified: Verified,
    /// Where it came in.
    pub origin: Origin,
    /// The trace that it belongs to, and is found in.
    pub trace: Option<Trace>,
}

/// An attempt that asks for a key, of which most get it: what the claim has too is in that alone.
#[derive(Clone, Debug)]
pub struct Bid {
    claim: Box<Record>,
    terms: Terms,
    /// Nothing where the claim has the fingerprint.
    payload: Option<Payload>,
    named: bool,
    verified: Verified,
}

/// Whether an attempt's credentials were verified by themselves: by the signature of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Nobody looked yet, since it matters to few.
    Untold,
    /// They are whom they name.
    Yes,
    /// Anybody could have made them up.
    No,
}

/// What is known of a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Held in memory, and hashed.
    Whole(Fingerprint),
    /// Too large to hold: it has no fingerprint before it has gone by.
    Streamed,
    /// Was too large to hold, and went by to be hashed: it can be compared, and no longer be sent.
    Consumed(Fingerprint),
}

/// What the policy says of a key whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownOutcome {
    /// Nothing runs again.
    Reject,
    /// Execute again.
    Retry,
    /// Ask the upstream whether it was carried out.
    Probe,
}

impl UnknownOutcome {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Retry => "retry",
            Self::Probe => "probe",
        }
    }
}

/// A record that a request met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The record.
    pub record: Record,
    /// Whether its lease lapsed, by the store's clock when it was read.
    pub lapse: Lapse,
    /// For how long at least nobody has written or renewed it, by the store's clock; nothing where the store did not say.
    pub quiet: Option<Duration>,
}

impl Seen {
    /// The state that a duplicate would find: a claim that lapsed is unknown.
    pub fn state(&self) -> State {
        match (self.record.state, self.lapse) {
            (State::InFlight, Lapse::Lapsed) => State::Unknown,
            (state, _) => state,
        }
    }
}

/// Whether a lease lapsed, by the store's clock in the step that read the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// The store did not say; `look` tells.
    Untold,
    /// It has not.
    Live,
    /// It has.
    Lapsed,
}

/// What a request does about the record that it met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is its own claim: the reply of an earlier try was lost. Execute.
    Mine,
    /// Claim over it, expecting this.
    Claim(Expect),
    /// Ask the upstream what became of it, and write the answer over it, expecting this.
    Probe(Expect),
    /// Look again, and ask for the lease.
    Look,
    /// Let the body go by, hash it, and decide again.
    Hash,
    /// Find out whether the attempt's credentials can be verified, and decide again.
    Verify,
    /// Answer from the record.
    Replay,
    /// Answer with a refusal.
    Refuse(Refusal),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The first request is still running.
    InProgress,
    /// It may or may not have been carried out.
    OutcomeUnknown,
    /// The key was used for another request; which parts differ.
    KeyReused(Vec<String>),
    /// It was carried out, and the answer was not kept; the first status.
    ResponseNotStored(Option<u16>),
    /// It was carried out under other credentials of this caller, and nothing verified these; the first status.
    CredentialsChanged(Option<u16>),
}

/// How a claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out; with the answer, where it is kept.
    Completed {
        /// Status of the answer.
        status: u16,
        /// The answer, where it is kept.
        response: Option<StoredResponse>,
    },
    /// Not carried out by this attempt. A claim that is in doubt becomes unknown by it, since an earlier attempt may have been.
    Released {
        /// Status of the answer that said so.
        status: Option<u16>,
        /// Why, for operators.
        error: Option<&'static str>,
    },
    /// Nobody knows.
    Unknown {
        /// Status of the answer, if one came.
        status: Option<u16>,
        /// Why, for operators.
        error: Option<&'static str>,
    },
}

impl Terms {
    /// With a retention of its own for what ends like this.
    #[must_use]
    pub fn keeping(mut self, outcome: &Outcome, retention: Option<Duration>) -> Self {
        if let Some(retention) = retention {
            match outcome {
                Outcome::Completed { .. } => self.retention = retention,
                Outcome::Released { .. } => self.failed_retention = retention,
                Outcome::Unknown { .. } => self.unknown_retention = retention,
            }
        }
        self
    }
}

impl Attempt {
    /// The record that claims a key of which the store holds nothing.
    pub fn claim(&self) -> Record {
        let fingerprint = match &self.payload {
            Payload::Whole(fingerprint) => Some(fingerprint.clone()),
            Payload::Streamed | Payload::Consumed(_) => None,
        };
        self.claim_with(fingerprint, self.origin.clone())
    }

    /// Asks for a key with its [claim](Self::claim).
    pub fn bid(mut self) -> Bid {
        let (fingerprint, payload) = match mem::replace(&mut self.payload, Payload::Streamed) {
            Payload::Whole(fingerprint) => (Some(fingerprint), None),
            payload => (None, Some(payload)),
        };
        let origin = mem::take(&mut self.origin);
        Bid {
            claim: Box::new(self.claim_with(fingerprint, origin)),
            terms: self.terms,
            payload,
            named: self.named,
            verified: self.verified,
        }
    }

    fn claim_with(&self, fingerprint: Option<Fingerprint>, origin: Origin) -> Record {
        Record {
            token: self.token,
            state: State::InFlight,
            ttl: if seeded(Seeded::ExpiryIsTheLease) {
                self.terms.lease
            } else {
                self.terms.unknown_retention
            },
            lease: self.terms.lease,
            attempts: 1,
            in_doubt: false,
            created: self.now,
            settled: None,
            expires: None,
            fingerprint,
            credentials: self.credentials,
            origin,
            status: None,
            error: None,
            trace: self.trace,
            response: None,
        }
    }

    /// The record that claims a key over an earlier attempt at it; in doubt, unless that one is known not to have been carried out.
    pub fn claim_over(&self, earlier: &Record) -> Record {
        Record {
            attempts: earlier.attempts.saturating_add(1),
            in_doubt: earlier.state != State::Released && !seeded(Seeded::DoubtForgotten),
            created: earlier.created,
            status: earlier.status,
            error: earlier.error.clone(),
            ..self.claim()
        }
    }
}

impl Bid {
    /// What is to be written.
    pub fn claim(&self) -> &Record {
        &self.claim
    }

    /// It was written.
    pub fn won(self) -> Box<Record> {
        self.claim
    }

    /// It was not: the attempt, which goes on by what the store holds.
    pub fn lost(self) -> Attempt {
        let claim = *self.claim;
        let whole = || Payload::Whole(claim.fingerprint.unwrap_or_default());
        Attempt {
            token: claim.token,
            terms: self.terms,
            now: claim.created,
            payload: self.payload.unwrap_or_else(whole),
            credentials: claim.credentials,
            named: self.named,
            verified: self.verified,
            origin: claim.origin,
            trace: claim.trace,
        }
    }
}

/// Decides what a request does about the record that it met.
///
/// `in_doubt` is the policy's word on unknown outcomes. `steady` is for how long this store was seen without a break:
/// while a store is away no heartbeat arrives, so a lease that lapsed meanwhile says nothing of its holder, and
/// nothing is taken over before the store was watched for one whole lease.
pub fn decide(
    seen: &Seen,
    attempt: &Attempt,
    in_doubt: UnknownOutcome,
    steady: Duration,
) -> Verdict {
    let record = &seen.record;
    if record.token == attempt.token {
        return match record.state {
            State::InFlight => Verdict::Mine,
            // Its own claim was given up meanwhile: nothing is known to run, and the next try finds out.
            _ => Verdict::Refuse(Refusal::InProgress),
        };
    }
    if record.state == State::Released {
        return match attempt.payload {
            Payload::Consumed(_) => Verdict::Refuse(Refusal::InProgress),
            _ => Verdict::Claim(Expect::Released(record.token)),
        };
    }
    let comparable = match (&record.fingerprint, &attempt.payload) {
        (Some(_), Payload::Streamed) => return Verdict::Hash,
        (Some(first), Payload::Whole(this) | Payload::Consumed(this)) => {
            let differences = first.differences(this);
            if !differences.is_empty() {
                let names = differences.into_iter().map(str::to_owned).collect();
                return Verdict::Refuse(Refusal::KeyReused(names));
            }
            true
        }
        (None, _) => false,
    };
    let probe = in_doubt == UnknownOutcome::Probe;
    let again = comparable
        && match in_doubt {
            UnknownOutcome::Reject => false,
            UnknownOutcome::Retry => matches!(attempt.payload, Payload::Whole(_)),
            UnknownOutcome::Probe => true,
        };
    let over = if probe {
        Verdict::Probe
    } else {
        Verdict::Claim
    };
    match (record.state, seen.lapse) {
        (State::Completed, _)
            if attempt.named
                && record.credentials != attempt.credentials
                && !seeded(Seeded::CredentialsIgnored) =>
        {
            match attempt.verified {
                Verified::Untold => Verdict::Verify,
                Verified::Yes => shown(record),
                Verified::No => Verdict::Refuse(Refusal::CredentialsChanged(first_status(record))),
            }
        }
        (State::Completed, _) => shown(record),
        (State::InFlight, Lapse::Untold) => Verdict::Look,
        (State::InFlight, Lapse::Live) => Verdict::Refuse(Refusal::InProgress),
        (State::InFlight, Lapse::Lapsed)
            if again && steady < record.lease && !seeded(Seeded::DowntimeIsLapse) =>
        {
            Verdict::Refuse(Refusal::InProgress)
        }
        (State::InFlight, Lapse::Lapsed) if again => over(Expect::Lapsed(record.token)),
        (State::Unknown, Lapse::Untold) if again && probe => Verdict::Look,
        (State::Unknown, _) if again => over(Expect::Unknown(record.token)),
        (State::InFlight | State::Unknown, _) => Verdict::Refuse(Refusal::OutcomeUnknown),
        (State::Released, _) => Verdict::Claim(Expect::Released(record.token)),
    }
}

/// What whoever may see the answer of a completed record gets.
pub fn shown(record: &Record) -> Verdict {
    match record.response {
        Some(_) => Verdict::Replay,
        None => Verdict::Refuse(Refusal::ResponseNotStored(record.status)),
    }
}

/// The status that the first client got.
fn first_status(record: &Record) -> Option<u16> {
    match &record.response {
        Some(response) => Some(response.status),
        None => record.status,
    }
}

/// What follows from an upstream that says that it knows nothing of an operation in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It was not carried out, and the attempt may claim.
    Believed,
    /// It may be under way yet; for so long.
    TooSoon(Duration),
    /// These credentials may not see it, or the attempt has no body any more.
    Nothing,
}

/// Judges an absence. `after` is how long an operation may be under way of which nobody hears; `steady`, as for [`decide`], is for how
/// long anybody would have been heard; `verified` says that the attempt's credentials were verified, by themselves or by the upstream.
///
/// What is quiet was written by the clock of one server and is read by that of another after a failover, and what is unknown there may
/// have been taken over since: so it counts only as far as the store was watched, and that for one whole lease at least.
pub fn absent(
    seen: &Seen,
    attempt: &Attempt,
    after: Duration,
    steady: Duration,
    verified: bool,
) -> Absence {
    let sees = verified
        || seen.record.credentials == attempt.credentials
        || seeded(Seeded::AbsenceBelievedOfAnybody);
    match seen.quiet {
        Some(_) if sees && seeded(Seeded::AbsenceBelievedAtOnce) => Absence::Believed,
        Some(quiet) if sees && matches!(attempt.payload, Payload::Whole(_)) => {
            let unheard = after.saturating_sub(quiet.min(steady));
            let unwatched = seen.record.lease.saturating_sub(steady);
            match unheard.max(unwatched) {
                Duration::ZERO => Absence::Believed,
                left => Absence::TooSoon(left),
            }
        }
        _ => Absence::Nothing,
    }
}

/// The record of an operation in doubt of which the upstream says that it was carried out. It is the attempt's, credentials included,
/// since the answer was given to those.
pub fn found(
    seen: &Record,
    attempt: &Attempt,
    status: u16,
    response: Option<StoredResponse>,
    now: UnixMillis,
) -> Record {
    let claim = Record {
        token: attempt.token,
        credentials: attempt.credentials,
        ..seen.clone()
    };
    let outcome = Outcome::Completed { status, response };
    settle(claim, attempt.terms, outcome, None, now)
}

/// The record that ends a claim, and replaces it under [`Expect::Held`].
///
/// `fingerprint` is that of a body that had none when it was claimed, if all of it went by.
pub fn settle(
    mut claim: Record,
    terms: Terms,
    outcome: Outcome,
    fingerprint: Option<Fingerprint>,
    now: UnixMillis,
) -> Record {
    claim.settle(terms, outcome, fingerprint, now);
    claim
}

impl Record {
    /// Makes of a claim the record that ends it, as [`settle`] does, in its place.
    pub(crate) fn settle(
        &mut self,
        terms: Terms,
        outcome: Outcome,
        fingerprint: Option<Fingerprint>,
        now: UnixMillis,
    ) {
        self.settled = Some(now);
        if self.fingerprint.is_none() {
            self.fingerprint = fingerprint;
        }
        match outcome {
            Outcome::Completed { status, response } => {
                self.state = State::Completed;
                self.ttl = terms.retention;
                self.expires = Some(now.after(terms.retention));
                self.status = Some(status);
                self.error = None;
                self.response = response;
            }
            Outcome::Released { status, error } if !self.in_doubt => {
                self.state = State::Released;
                self.ttl = terms.failed_retention;
                self.status = status;
                self.error = error.map(str::to_owned);
            }
            Outcome::Released { status, error } | Outcome::Unknown { status, error } => {
                self.state = State::Unknown;
                self.ttl = terms.unknown_retention;
                self.status = status;
                self.error = error.map(str::to_owned);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
