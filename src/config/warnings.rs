//! What of a configuration weakens the guarantee.

use http::Method;
use http::header::AUTHORIZATION;

use super::settings::LogSettings;
use crate::idempotency::{Finality, KeyFormat, ResponseRule, Template, built_in};
use crate::proxy::Routes;
use crate::proxy::jwt::TokenVerifier;
use crate::proxy::policy::{
    CutUpload, FingerprintPart, KeySource, Mode, Policy, Probe, ScopePart, StoreFailure,
    UnknownOutcome,
};
use crate::store::{Location, StoreSettings, Sync};
use crate::wire::Voice;

/// A sentence for each thing, with the routes that it holds for.
pub(super) fn of(
    store: &StoreSettings,
    jwt: Option<&TokenVerifier>,
    routes: &Routes,
    voice: &Voice,
) -> Vec<String> {
    let of_store = OF_STORE
        .iter()
        .filter(|(weak, _)| weak(store))
        .map(|(_, sentence)| format!("store: {sentence}"));
    let of_jwt = OF_JWT
        .iter()
        .filter(|(weak, _)| jwt.is_some_and(weak))
        .map(|(_, sentence)| format!("jwt: {sentence}"));
    let enforced = OF_POLICY.iter().map(|weakness| (Mode::Enforce, weakness));
    let observed = [(Mode::Observe, &OBSERVED)].into_iter();
    let of_policies = observed
        .chain(enforced)
        .filter_map(|(mode, (weak, sentence))| {
            let names: Vec<&str> = routes
                .all()
                .iter()
                .filter(|policy| policy.mode == mode && weak(policy))
                .map(|policy| policy.route.as_str())
                .collect();
            told(&names, sentence)
        });
    let of_voice = OF_VOICE
        .iter()
        .filter(|(weak, _)| weak(voice))
        .map(|(_, sentence)| format!("errors: {sentence}"));
    let crowded: Vec<&str> = routes
        .all()
        .iter()
        .zip(routes.patterns())
        .filter(|(policy, _)| policy.mode == Mode::Enforce && probes_by_key(policy))
        .filter(|(policy, pattern)| {
            let everywhere = pattern.is_empty() && routes.all().len() > 1;
            policy.methods != [Method::POST] || pattern.contains('{') || everywhere
        })
        .map(|(policy, _)| policy.route.as_str())
        .collect();
    let crowded = told(
        &crowded,
        "probe asks by {key} alone, and a record is one of a method, a path and a caller: what another method or path did under the same key is taken for what this one did",
    );
    let asked = |policy: &Policy| policy.unknown_outcome == UnknownOutcome::Probe;
    let unasked: Vec<&str> = routes
        .all()
        .iter()
        .filter(|policy| policy.mode == Mode::Enforce && policy.probe.is_some())
        .filter(|_| !routes.all().iter().any(|policy| asked(policy)))
        .map(|policy| policy.route.as_str())
        .collect();
    let unasked = told(
        &unasked,
        "probe is never asked, since unknown_outcome is not probe: what is in doubt stays so, or runs again under retry",
    );
    of_store
        .chain(of_jwt)
        .chain(of_policies)
        .chain(crowded)
        .chain(unasked)
        .chain(of_voice)
        .collect()
}

/// What of the log a person should know.
pub(super) fn of_log(log: &LogSettings) -> Option<String> {
    log.keys.then(|| LOG_KEYS.to_owned())
}

/// Whether a part of the scope that tells callers apart is one of these.
fn tells_apart(policy: &Policy, one_of: impl Fn(&ScopePart) -> bool) -> bool {
    policy.scope.iter().any(|part| {
        let is_of_request = matches!(part, ScopePart::Method | ScopePart::Path | ScopePart::Query);
        !is_of_request && one_of(part)
    })
}

fn told(routes: &[&str], sentence: &str) -> Option<String> {
    let word = if routes.len() == 1 { "route" } else { "routes" };
    (!routes.is_empty()).then(|| format!("{word} {}: {sentence}", routes.join(", ")))
}

fn probes_by_key(policy: &Policy) -> bool {
    policy.unknown_outcome == UnknownOutcome::Probe
        && policy
            .probe
            .as_ref()
            .is_some_and(|probe| probe.path.names_key())
}

fn asks_by_key(policy: &Policy) -> bool {
    let mut replies = policy
        .responses
        .iter()
        .filter_map(|rule| rule.reply_from.as_ref());
    probes_by_key(policy) || replies.any(Template::names_key)
}

/// Whether a rule is for answers that would not free the key without it.
fn may_free_what_is_kept(rule: &ResponseRule) -> bool {
    (200..=599)
        .filter(|status| rule.status.is_none_or(|of| of.contains(*status)))
        .any(|status| built_in(status) != Finality::Release)
}

type Weakness<T> = (fn(&T) -> bool, &'static str);

const OF_STORE: &[Weakness<StoreSettings>] = &[
    (
        |store| store.location == Location::Memory,
        "url is memory: every key is forgotten when the process ends, and other replicas do not see them",
    ),
    (
        |store| matches!(store.location, Location::Embedded(_)) && store.sync == Sync::Never,
        "sync is never: a kill or a power loss may forget the keys of its last moments, and their requests run again",
    ),
    (
        |store| matches!(store.location, Location::Redis(_)) && store.allow_eviction,
        "allow_eviction is true: a Redis that runs out of memory may forget keys, and their requests run again",
    ),
    (
        |store| store.location.fails_over() && store.wait_replicas == 0,
        "wait_replicas is 0: a failover may forget the keys of its last moments, and their requests run again",
    ),
];

const OBSERVED: Weakness<Policy> = (
    |_| true,
    "mode is observe: nothing is guaranteed, every request passes and duplicates run again",
);
const OF_JWT: &[Weakness<TokenVerifier>] = &[
    (
        |jwt| jwt.rules().issuer.is_none(),
        "issuer is not set: whoever has one of the keys may name any issuer, and callers of two issuers may be taken for one",
    ),
    (
        |jwt| jwt.rules().audience.is_none(),
        "audience is not set: a token that was made for another API gets stored answers of its caller",
    ),
    (
        |jwt| jwt.has_short_secret(),
        "secret_file is shorter than the hash of an algorithm (HS256: 32 bytes, HS384: 48, HS512: 64): whoever has a token may find the secret by trying",
    ),
];

const OF_POLICY: &[Weakness<Policy>] = &[
    (
        |policy| {
            policy.unknown_outcome == UnknownOutcome::Probe
                && policy
                    .probe
                    .as_ref()
                    .is_some_and(|probe| !probe.path.names_key())
        },
        "probe.path has no {key}: it asks the same about every request, so that one that is found stands for all",
    ),
    (
        |policy| !tells_apart(policy, |_| true),
        "scope has no caller: callers who choose the same key meet each other's record, and may be given each other's answer",
    ),
    (
        |policy| {
            let in_header = |part: &ScopePart| matches!(part, ScopePart::Header(_));
            tells_apart(policy, in_header)
                && !tells_apart(policy, |part| !in_header(part))
                && !policy.scope.contains(&ScopePart::Header(AUTHORIZATION))
        },
        "scope tells callers apart by a header alone: whoever sends the value of another caller meets that one's record, and may be given the answer; something before this proxy has to check it",
    ),
    (
        |policy| {
            tells_apart(policy, |part| *part == ScopePart::ClientIp)
                && !tells_apart(policy, |part| *part != ScopePart::ClientIp)
        },
        "scope tells callers apart by client-ip alone: those behind one address meet each other's record, and whoever changes the address is another caller, whose retry runs again",
    ),
    (
        |policy| {
            let compared = [FingerprintPart::Body, FingerprintPart::JsonBody];
            !compared
                .iter()
                .any(|part| policy.fingerprint.contains(part))
        },
        "fingerprint has no body: another body under the same key is not noticed, and gets the first one's answer",
    ),
    (
        |policy| policy.key.contains(&KeySource::Content),
        "key has content: requests that are alike within the retention count as one, although each may be meant",
    ),
    (
        |policy| {
            let in_query = |source: &KeySource| matches!(source, KeySource::Query(_));
            policy.key.iter().any(in_query) && !policy.fingerprint.contains(&FingerprintPart::Query)
        },
        "key is in the query, and fingerprint has no query: another query under the same key is not noticed, and gets the first one's answer",
    ),
    (
        |policy| {
            let ignored = policy.json_body.ignored();
            policy.key.iter().any(|source| match source {
                KeySource::Json(place) => ignored
                    .iter()
                    .any(|pointer| place.tokens().starts_with(pointer.tokens())),
                _ => false,
            })
        },
        "fingerprint_ignore has a place that a key comes from: where an earlier source has the key, another value there is not noticed",
    ),
    (
        |policy| {
            let taken = policy.uuid7.max_age.saturating_add(policy.uuid7.max_future);
            policy.key_format == KeyFormat::Uuid7 && taken > policy.retention
        },
        "uuid7_max_age and uuid7_max_future together are longer than retention: a key is still taken when its record is gone, and its request runs again",
    ),
    (
        |policy| policy.unknown_outcome == UnknownOutcome::Retry,
        "unknown_outcome is retry: a request whose outcome is unknown runs again, so at least once instead of at most once",
    ),
    (
        |policy| policy.cut_upload == CutUpload::Release,
        "cut_upload is release: a request whose upload broke off runs again, although the upstream saw a part of it",
    ),
    (
        |policy| policy.store_error == StoreFailure::Forward,
        "store_error is forward: while the store cannot be reached, requests run without the guarantee",
    ),
    (
        |policy| !policy.retry.on_status.is_empty(),
        "retry.on names statuses: they free the key, and a request is sent again after them, which is safe only if they mean that nothing was done",
    ),
    (
        |policy| {
            let releases = |rule: &ResponseRule| rule.outcome == Finality::Release;
            policy
                .responses
                .iter()
                .any(|rule| releases(rule) && may_free_what_is_kept(rule))
        },
        "a response rule releases answers that would be kept or leave the outcome unknown: their requests run again, which is safe only if they mean that nothing was done",
    ),
    (
        |policy| {
            let fetches = |rule: &ResponseRule| rule.reply_from.is_some();
            policy
                .responses
                .iter()
                .any(|rule| fetches(rule) && may_free_what_is_kept(rule))
        },
        "a response rule has reply_from for answers that would be kept or leave the outcome unknown: where nothing can be fetched their requests run again, which is safe only if they mean that the thing was there already",
    ),
    (
        |policy| policy.key.len() > 1 && asks_by_key(policy),
        "probe or reply_from asks by {key}, and key has several sources: a key from one that the upstream does not look at is not found there, and its request may run again",
    ),
    (
        |policy| {
            policy.responses.iter().any(|rule| {
                let success = rule.reply_status.is_some_and(|status| status < 400);
                rule.outcome != Finality::Store && success
            })
        },
        "a response rule replies with a success where nothing is kept: clients may take the request for done",
    ),
    (
        |policy| {
            let short = |probe: &Probe| probe.after < policy.upstream_timeout;
            policy.unknown_outcome == UnknownOutcome::Probe
                && policy.probe.as_ref().is_some_and(short)
        },
        "probe.after is shorter than upstream_timeout: a request that the upstream still works on may be taken for one that it does not know of, and run again",
    ),
];

const LOG_KEYS: &str = "log: keys is true: who reads the log reads every idempotency key, and may be answered from the store by it where the scope has no caller";

const OF_VOICE: &[Weakness<Voice>] = &[
    (
        |voice| {
            let json = voice
                .body
                .as_ref()
                .and_then(|body| body.template.as_json().ok());
            json.is_some_and(|json| !json["error"].is_object())
        },
        "body has no object `error`: stripe-node takes a 409 without one for a success",
    ),
    (
        |voice| voice.origins.any,
        "cors_origins has *: pages of every origin may read the answers that the proxy makes itself, though without credentials",
    ),
];
