//! With the feature: as the environment says.

use std::io::Write;
use std::process::abort;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Place, Seeded};

/// Whether this build is for tests.
pub(crate) const BUILT_IN: bool = true;

/// Dies here, if this is where and when to.
pub(crate) fn reach(place: Place) {
    static CRASH: OnceLock<Option<(Place, u64)>> = OnceLock::new();
    static REACHED: [AtomicU64; PLACES.len()] = [const { AtomicU64::new(0) }; PLACES.len()];
    let Some((at, time)) = *CRASH.get_or_init(crash) else {
        return;
    };
    let reached = &REACHED[place as usize];
    let is_after = place as usize % 2 == 1;
    let due = REACHED[place as usize & !1].load(Ordering::SeqCst);
    if is_after && reached.load(Ordering::SeqCst) >= due {
        return;
    }
    if reached.fetch_add(1, Ordering::SeqCst) + 1 == time && place == at {
        say("died", name(&PLACES, place));
        // No destructor runs and nothing is flushed: what the system has is what is left.
        abort();
    }
}

/// Whether this fault is built in.
pub(crate) fn seeded(fault: Seeded) -> bool {
    static SEEDED: OnceLock<Option<Seeded>> = OnceLock::new();
    static SAID: AtomicBool = AtomicBool::new(false);
    let built_in =
        *SEEDED.get_or_init(|| Some(find(&FAULTS, &set("IDEMPROXY_SEEDED_FAULT")?))) == Some(fault);
    if built_in && !SAID.swap(true, Ordering::SeqCst) {
        say("seeded", name(&FAULTS, fault));
    }
    built_in
}

/// A script of the Redis store, with the fault that is built in.
pub(crate) fn seed_script(script: String) -> String {
    let swaps = [
        (
            Seeded::SettleComparesNoToken,
            "current.token ~= token or ",
            "ARGV[5] == '0' and current.token ~= token or ",
        ),
        (
            Seeded::RenewComparesNoState,
            " or current.state ~= in_flight",
            "",
        ),
        (
            Seeded::TakeOverAsksForNoLapse,
            "if ARGV[6] == '1' then",
            "if false then",
        ),
    ];
    swaps
        .into_iter()
        .filter(|(fault, sound, _)| script.contains(sound) && seeded(*fault))
        .fold(script.clone(), |script, (_, sound, faulty)| {
            script.replace(sound, faulty)
        })
}

fn crash() -> Option<(Place, u64)> {
    let set = set("IDEMPROXY_CRASH_AT")?;
    let (place, time) = set.split_once(':').unwrap_or((&set, "1"));
    let Ok(time) = time.parse() else {
        misnamed(&set);
    };
    Some((find(&PLACES, place), time))
}

fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|it| !it.is_empty())
}

fn find<T: Copy>(names: &[(T, &str)], name: &str) -> T {
    let found = names.iter().find(|(_, known)| *known == name);
    found.map_or_else(|| misnamed(name), |(it, _)| *it)
}

fn name<T: Copy + PartialEq>(names: &[(T, &'static str)], it: T) -> &'static str {
    let found = names.iter().find(|(known, _)| *known == it);
    found.map_or("nameless", |(_, name)| name)
}

/// A test of a fault that is none would pass, or fail, for nothing.
fn misnamed(name: &str) -> ! {
    say("unknown", name);
    abort();
}

/// Past the test harness, which keeps what tests print for itself.
fn say(what: &str, name: &str) {
    let line = format!("fault: {what} {name}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = set("IDEMPROXY_FAULT_LOG")
        && let Ok(mut log) = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
    {
        let _ = log.write_all(line.as_bytes());
    }
}

/// In the order of [`Place`].
const PLACES: [(Place, &str); 16] = [
    (Place::BeforeClaim, "before-claim"),
    (Place::AfterClaim, "after-claim"),
    (Place::BeforeConnection, "before-connection"),
    (Place::AfterConnection, "after-connection"),
    (Place::BeforeFirstByte, "before-first-byte"),
    (Place::AfterFirstByte, "after-first-byte"),
    (Place::BeforeLastByte, "before-last-byte"),
    (Place::AfterLastByte, "after-last-byte"),
    (Place::BeforeResponseHead, "before-response-head"),
    (Place::AfterResponseHead, "after-response-head"),
    (Place::BeforeBody, "before-body"),
    (Place::AfterBody, "after-body"),
    (Place::BeforeSettle, "before-settle"),
    (Place::AfterSettle, "after-settle"),
    (Place::BeforeAnswer, "before-answer"),
    (Place::AfterAnswer, "after-answer"),
];

const FAULTS: [(Seeded, &str); 25] = [
    (Seeded::SettleComparesNoToken, "settle-compares-no-token"),
    (Seeded::RenewComparesNoState, "renew-compares-no-state"),
    (Seeded::ExpiryIsTheLease, "expiry-is-the-lease"),
    (Seeded::LapseOfTwoReplies, "lapse-of-two-replies"),
    (
        Seeded::TakeOverAsksForNoLapse,
        "take-over-asks-for-no-lapse",
    ),
    (Seeded::DowntimeIsLapse, "downtime-is-lapse"),
    (Seeded::DoubtForgotten, "doubt-forgotten"),
    (Seeded::FingerprintOff, "fingerprint-off"),
    (Seeded::CallerLeftOut, "caller-left-out"),
    (Seeded::CredentialsIgnored, "credentials-ignored"),
    (Seeded::AbsenceBelievedAtOnce, "absence-believed-at-once"),
    (
        Seeded::AbsenceBelievedOfAnybody,
        "absence-believed-of-anybody",
    ),
    (Seeded::CookiesStored, "cookies-stored"),
    (Seeded::ForwardBeforeClaim, "forward-before-claim"),
    (Seeded::LostClaimLeft, "lost-claim-left"),
    (Seeded::NoLookAtTheClock, "no-look-at-the-clock"),
    (Seeded::UnansweredSentAgain, "unanswered-sent-again"),
    (Seeded::UnansweredReleased, "unanswered-released"),
    (Seeded::CutAnswerStored, "cut-answer-stored"),
    (Seeded::CutUploadIsWhole, "cut-upload-is-whole"),
    (Seeded::AnswerBeforeStore, "answer-before-store"),
    (Seeded::SettlementForgotten, "settlement-forgotten"),
    (Seeded::ReplicasNotAwaited, "replicas-not-awaited"),
    (
        Seeded::AcknowledgedBeforeCommit,
        "acknowledged-before-commit",
    ),
    (Seeded::DeadClaimsLive, "dead-claims-live"),
];
