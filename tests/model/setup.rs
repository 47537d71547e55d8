//! What a run of the model checks, and what may go wrong in it.

use idemproxy::idempotency::UnknownOutcome;

/// What a run of the model checks, and how often what may go wrong in it. Numbers bound the state space.
#[derive(Clone, Debug)]
pub struct Setup {
    /// A request each, in any order; who has which body.
    pub payloads: Vec<u8>,
    /// The policy.
    pub in_doubt: UnknownOutcome,
    /// A later attempt begins when the earlier ones are over.
    pub one_client: bool,
    /// Replies lost, commands late.
    pub losses: u8,
    /// Holders killed.
    pub crashes: u8,
    /// Holders asleep for longer than a lease.
    pub freezes: u8,
    /// Times that the store is away for longer than a lease.
    pub outages: u8,
    /// Exchanges that end without anybody knowing.
    pub unknowns: u8,
    /// Records lost by the store.
    pub forgets: u8,
    /// Settled records that reach the end of their retention.
    pub expiries: u8,
    /// Orders of an operator, without force, each on the record as it was once shown.
    pub orders: u8,
    /// What is built wrong.
    pub fault: Option<Fault>,
}

/// What is built wrong; the checker has to find it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record vanishes when its lease lapses.
    ExpiryIsTheLease,
    /// A take-over believes an earlier look, and compares the token only.
    LapseFromAnEarlierLook,
    /// A settlement overwrites what is there.
    SettleComparesNothing,
    /// A heartbeat renews what is there.
    RenewComparesNothing,
    /// A claim over a released record does not name it.
    AnyReleased,
    /// Nobody looks at the clock before the first byte.
    NoClock,
    /// The clock is looked at before the renewal, and not after it.
    ClockBeforeRenewalOnly,
    /// A claim whose reply was lost is left alone.
    NoJanitor,
    /// A request without an answer is sent again.
    RetryUnanswered,
    /// A take-over that did not execute says so, although the attempt before it may have.
    ReleaseUnknownOutcome,
    /// Take-overs do not wait for the store to be watched for a lease.
    OutageIsLapse,
    /// An operator's order compares the token only, and not the state that was shown.
    OrderComparesTokenOnly,
    /// A take-over arrives more than a lease after the look that it goes back to.
    CommandOutlivesLease,
}

impl Setup {
    /// So many requests of one body, and nothing goes wrong.
    pub fn of(attempts: u8, in_doubt: UnknownOutcome) -> Self {
        Self {
            payloads: vec![1; attempts.into()],
            in_doubt,
            one_client: false,
            losses: 0,
            crashes: 0,
            freezes: 0,
            outages: 0,
            unknowns: 0,
            forgets: 0,
            expiries: 0,
            orders: 0,
            fault: None,
        }
    }
}
