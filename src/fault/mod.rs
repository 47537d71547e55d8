//! Deaths and faults on purpose, for tests: only under the Cargo feature `faults`, and nothing at all without it.
//!
//! `IDEMPROXY_CRASH_AT=PLACE[:N]` has the process die, as by SIGKILL, when it reaches a [`Place`] for the N-th time, by default the first.
//! `IDEMPROXY_SEEDED_FAULT=NAME` builds one [`Seeded`] fault in, which some check must find. What came of either is written to
//! standard error and, where `IDEMPROXY_FAULT_LOG` names a file, at its end.

#[cfg(feature = "faults")]
mod armed;
#[cfg(not(feature = "faults"))]
mod disarmed;

#[cfg(feature = "faults")]
pub(crate) use armed::*;
#[cfg(not(feature = "faults"))]
pub(crate) use disarmed::*;

#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!("the feature `faults` is for tests, and in no release");

/// Where a process can be told to die, in the order in which a request comes by.
///
/// A place after something counts at most as often as the one before it: a write to a connection is the first byte's, the last byte's or the
/// answer's only where one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing was asked of the store.
    BeforeClaim,
    /// The store has the claim.
    AfterClaim,
    /// A new connection to the upstream is wanted.
    BeforeConnection,
    /// It is there.
    AfterConnection,
    /// All is ready to be written to the upstream.
    BeforeFirstByte,
    /// The system has taken the first bytes.
    AfterFirstByte,
    /// The last piece of the body is about to be written.
    BeforeLastByte,
    /// The system has taken all of the request.
    AfterLastByte,
    /// First bytes came from the upstream, and were not looked at.
    BeforeResponseHead,
    /// The head of the answer is read.
    AfterResponseHead,
    /// An answer is to be kept, and its body not read.
    BeforeBody,
    /// All of the answer is here.
    AfterBody,
    /// The end of the claim is about to be written.
    BeforeSettle,
    /// The store has taken it, or is going to be told again.
    AfterSettle,
    /// There is an answer.
    BeforeAnswer,
    /// The system has taken first bytes of it.
    AfterAnswer,
}

/// Faults built in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seeded {
    /// A settlement overwrites the record whoever's it is.
    SettleComparesNoToken,
    /// A heartbeat renews its record in whatever state.
    RenewComparesNoState,
    /// A record in flight expires with its lease.
    ExpiryIsTheLease,
    /// A record and what is left of its time to live come from two replies.
    LapseOfTwoReplies,
    /// A take-over does not ask for the lapse in its own step.
    TakeOverAsksForNoLapse,
    /// Take-overs do not wait until the store was watched for a lease.
    DowntimeIsLapse,
    /// What took over an attempt in doubt forgets so.
    DoubtForgotten,
    /// Every body fits every key.
    FingerprintOff,
    /// Callers share their keys.
    CallerLeftOut,
    /// Other credentials get the stored answer.
    CredentialsIgnored,
    /// An absence is believed at once.
    AbsenceBelievedAtOnce,
    /// An absence is believed under whatever credentials.
    AbsenceBelievedOfAnybody,
    /// Cookies are kept in stored answers.
    CookiesStored,
    /// The claim is written while the request is forwarded.
    ForwardBeforeClaim,
    /// A claim whose reply was lost is left alone.
    LostClaimLeft,
    /// Nobody looks at the clock before the first byte.
    NoLookAtTheClock,
    /// A request whose answer was lost is sent again.
    UnansweredSentAgain,
    /// A request whose answer was lost releases its key.
    UnansweredReleased,
    /// An answer that broke off is kept as a whole one.
    CutAnswerStored,
    /// An upload that broke off is taken for a whole one.
    CutUploadIsWhole,
    /// An answer is given as stored before the store has it.
    AnswerBeforeStore,
    /// A settlement that the store refused is forgotten.
    SettlementForgotten,
    /// Nobody waits for replicas.
    ReplicasNotAwaited,
    /// The embedded store acknowledges settlements before it commits them.
    AcknowledgedBeforeCommit,
    /// What the embedded store finds in flight when it opens stays in flight.
    DeadClaimsLive,
}
