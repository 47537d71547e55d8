//! The upstream's word on an operation in doubt, and on the credentials of whoever asks for a stored answer.

use http::request::Parts;

use super::ask::{Asking, Question, Told, ask};
use super::key::Keyed;
use super::limits::Buffered;
use super::policy::{Policy, Probe, ReplayCheck, ScopePart};
use super::trail::Trail;
use super::{Forward, Peer, Shared, problem, respond, scope};
use crate::idempotency::digest::{Digest, Hasher};
use crate::idempotency::{Absence, Attempt, Record, Refusal, Seen, Verified, absent, found};
use crate::store::Store;
use crate::wire::Problem;

/// What the upstream says of an operation in doubt.
pub(super) enum Probed {
    /// It took place: this record says so.
    /// The memory that its answer takes is held until that is given.
    Found(Box<Record>, Buffered),
    /// It did not, and that is believed.
    Absent,
    /// Nothing, or nothing that is believed yet.
    Refused(Problem),
}

/// Whether the upstream vouches for credentials.
pub(super) enum Vouched {
    /// It does.
    Yes,
    /// It does not, or nobody asked it.
    No,
    /// Somebody is asking about this key.
    Asking,
}

/// Asks the upstream, under the duplicate's own credentials, whether an operation in doubt took place.
pub(super) async fn probe<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    keyed: &Keyed,
    request: &Parts,
    trail: &Trail,
    policy: &Policy,
    attempt: &Attempt,
    seen: &Seen,
) -> Probed {
    let unknown = || Probed::Refused(problem::refusal(Refusal::OutcomeUnknown, keyed.id, seen));
    let Some(Probe {
        path,
        found: knows,
        absent: knows_not,
        after,
        reply_status,
    }) = &policy.probe
    else {
        return unknown();
    };
    let Some(_turn) = proxy.asides.turn(keyed.id) else {
        return Probed::Refused(problem::asked(keyed.id, None));
    };
    let Some(target) = path.fill(&keyed.text) else {
        return unknown();
    };
    let asking = asking(proxy, request, trail, policy);
    let mut held = proxy.limits.buffer();
    let question = Question::about(&asking, policy, target);
    let Some(told) = ask(proxy, policy, question, &mut held).await else {
        return unknown();
    };
    let status = told.status().as_u16();
    if knows.contains(status) {
        tracing::info!(id = %keyed.id, status, "the upstream knows of an operation whose outcome was unknown");
        let kept = match told {
            Told::Whole(response, trailers) => {
                let (head, bytes) = response.into_parts();
                let cookies = policy.store_set_cookie;
                let names = &proxy.voice.names;
                let mut kept =
                    respond::keep(names, head.status, &head.headers, bytes, &trailers, cookies);
                kept.status = *reply_status;
                Some(kept)
            }
            Told::Large(_) => None,
        };
        // Without its answer, all that duplicates are told is the status.
        let status = if kept.is_some() {
            status
        } else {
            *reply_status
        };
        let record = found(&seen.record, attempt, status, kept, proxy.records.now());
        return Probed::Found(Box::new(record), held);
    }
    if !knows_not.contains(status) {
        return unknown();
    }
    let theirs = seen.record.credentials == attempt.credentials;
    let verified = !theirs
        && names_one(attempt, policy)
        && (is_verified(proxy, request, attempt)
            || matches!(asked(proxy, request, trail, policy).await, Vouched::Yes));
    let steady = proxy.records.steady(keyed.id);
    match absent(seen, attempt, *after, steady, verified) {
        Absence::Believed => {
            tracing::warn!(id = %keyed.id, "the upstream does not know of an operation whose outcome was unknown; it is carried out");
            Probed::Absent
        }
        Absence::TooSoon(left) => Probed::Refused(problem::asked(keyed.id, Some(left))),
        Absence::Nothing => unknown(),
    }
}

/// Whether the scope lets one caller alone, under whatever credentials, meet a record: those of another, however good, see less.
fn names_one(attempt: &Attempt, policy: &Policy) -> bool {
    let of_one = |part: &ScopePart| match part {
        ScopePart::Caller => true,
        ScopePart::Jwt(claim) => claim == "sub",
        _ => false,
    };
    attempt.named && policy.scope.iter().any(of_one)
}

/// Whether the attempt's credentials were verified by themselves.
fn is_verified<F, S>(proxy: &Shared<F, S>, request: &Parts, attempt: &Attempt) -> bool {
    let verified = match attempt.verified {
        Verified::Untold => scope::verified(&request.headers, proxy.jwt.as_deref()),
        told => told,
    };
    verified == Verified::Yes
}

/// Asks the upstream, unless it did so a short while ago, whether other credentials of a caller stand.
pub(super) async fn vouch<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    keyed: &Keyed,
    request: &Parts,
    trail: &Trail,
    policy: &Policy,
    attempt: &Attempt,
) -> Vouched {
    let Some(check) = policy.replay_check.as_ref().filter(|_| attempt.named) else {
        return Vouched::No;
    };
    if proxy
        .asides
        .stand(&digest(check, request, trail.peer(), policy))
    {
        return Vouched::Yes;
    }
    match proxy.asides.turn(keyed.id) {
        Some(_turn) => asked(proxy, request, trail, policy).await,
        None => Vouched::Asking,
    }
}

async fn asked<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    request: &Parts,
    trail: &Trail,
    policy: &Policy,
) -> Vouched {
    let Some(check) = &policy.replay_check else {
        return Vouched::No;
    };
    let answer = digest(check, request, trail.peer(), policy);
    if proxy.asides.stand(&answer) {
        return Vouched::Yes;
    }
    let asking = asking(proxy, request, trail, policy);
    let mut held = proxy.limits.buffer();
    let question = Question::of_caller(&asking, check.path.to_string());
    match ask(proxy, policy, question, &mut held).await {
        Some(told) if check.ok.contains(told.status().as_u16()) => {
            proxy.asides.remember(answer, check.cache);
            Vouched::Yes
        }
        _ => Vouched::No,
    }
}

/// Names a question about credentials: all that its answer may depend on, which is what makes its headers.
fn digest(check: &ReplayCheck, request: &Parts, peer: Option<&Peer>, policy: &Policy) -> Digest {
    let mut hasher = Hasher::new("replay_check");
    hasher
        .part(&policy.upstream.to_be_bytes())
        .part(check.path.to_string().as_bytes())
        .part(check.ok.to_string().as_bytes());
    hasher.part(
        peer.map_or_else(String::new, |peer| {
            format!("{} {}", peer.addr().ip(), peer.scheme())
        })
        .as_bytes(),
    );
    for (name, value) in &request.headers {
        if Question::tells_caller(name) {
            hasher.part(name.as_str().as_bytes()).part(value.as_bytes());
        }
    }
    hasher.finish()
}

/// On behalf of a request, as it would go upstream.
fn asking<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    request: &Parts,
    trail: &Trail,
    policy: &Policy,
) -> Asking {
    let mut head = request.clone();
    proxy.prepare(&mut head, policy, trail);
    Asking::of(&head)
}
