//! `[policy]`, and the policy part of a `[[route]]`.

use super::defaults::{
    BODY_MAX, FINGERPRINT_PARTS_MAX, LEASE_MAX, LEASE_MIN, RETENTION_MAX, RETENTION_MIN,
    TIMEOUT_MAX, TIMEOUT_MIN,
};
use super::kind::{at_most, boolean, duration, list, number, one_of, share, short, size};
use super::reader::Reader;
use super::rules;
use super::words::{
    RetryOn, fingerprint_part, key_format, key_source, method, pointer, retry_on, scope_part,
    size_or_none,
};
use crate::idempotency::{JsonBody, Uuid7Bounds};
use crate::proxy::Policy;
use crate::proxy::policy::{
    CutUpload, FingerprintPart, KeySource, Meanwhile, Mode, RetryPolicy, ScopePart, StoreFailure,
    UnknownOutcome,
};

/// The policy written in a table, over the one that holds where it is silent. `has_jwt` says that there is a `[jwt]`.
pub(super) fn read(table: &Reader<'_>, base: &Policy, has_jwt: bool) -> Policy {
    let policy = Policy {
        route: base.route.clone(),
        mode: table.get_or("mode", one_of(MODE), base.mode),
        methods: table.get_or("methods", list(1, method), base.methods.clone()),
        key: table.get_or("key", list(1, key_source), base.key.clone()),
        key_required: table.get_or("key_required", boolean, base.key_required),
        key_max_length: table.get_or("key_max_length", number(1..=4096), base.key_max_length),
        key_format: table.get_or("key_format", key_format, base.key_format.clone()),
        uuid7: Uuid7Bounds {
            max_future: table.get_or(
                "uuid7_max_future",
                duration(UUID7_MAX_FUTURE),
                base.uuid7.max_future,
            ),
            max_age: table.get_or("uuid7_max_age", duration(RETENTION), base.uuid7.max_age),
        },
        scope: table.get_or("scope", list(0, scope_part), base.scope.clone()),
        fingerprint: table.get_or(
            "fingerprint",
            at_most(FINGERPRINT_PARTS_MAX, list(0, fingerprint_part)),
            base.fingerprint.clone(),
        ),
        json_body: table
            .get("fingerprint_ignore", list(0, pointer))
            .map_or_else(|| base.json_body.clone(), JsonBody::ignoring),
        retention: table.get_or("retention", duration(RETENTION), base.retention),
        failed_retention: table.get_or(
            "failed_retention",
            duration(RETENTION),
            base.failed_retention,
        ),
        unknown_retention: table.get_or(
            "unknown_retention",
            duration(RETENTION),
            base.unknown_retention,
        ),
        lease: table.get_or("lease", duration(LEASE_MIN..=LEASE_MAX), base.lease),
        in_flight: table.get_or("in_flight", one_of(IN_FLIGHT), base.in_flight),
        wait_timeout: table.get_or("wait_timeout", duration(TIMEOUT), base.wait_timeout),
        unknown_outcome: table.get_or(
            "unknown_outcome",
            one_of(UNKNOWN_OUTCOME),
            base.unknown_outcome,
        ),
        cut_upload: table.get_or("cut_upload", one_of(CUT_UPLOAD), base.cut_upload),
        store_error: table.get_or("store_error", one_of(STORE_ERROR), base.store_error),
        client_timeout: table.get_or("client_timeout", duration(TIMEOUT), base.client_timeout),
        upstream_timeout: table.get_or(
            "upstream_timeout",
            duration(TIMEOUT),
            base.upstream_timeout,
        ),
        max_buffered_request: table.get_or(
            "max_buffered_request",
            size(0..=BODY_MAX),
            base.max_buffered_request,
        ),
        max_stored_response: table.get_or(
            "max_stored_response",
            size(0..=BODY_MAX),
            base.max_stored_response,
        ),
        max_request_body: table.get_or("max_request_body", size_or_none, base.max_request_body),
        preserve_host: table.get_or("preserve_host", boolean, base.preserve_host),
        store_set_cookie: table.get_or("store_set_cookie", boolean, base.store_set_cookie),
        retry: table.section("retry", |retry| read_retry(retry, &base.retry)),
        responses: base.responses.clone(),
        probe: rules::probe(table, base.probe.as_ref()),
        replay_check: rules::replay_check(table, base.replay_check.as_ref()),
        upstream: base.upstream,
        place: base.place,
    };
    check_unknown_retention(table, &policy);
    check_scope(table, &policy, has_jwt);
    check_content(table, &policy);
    check_json_body(table, &policy);
    rules::check_probe(table, &policy);
    let policy = Policy {
        responses: rules::responses(table, &policy),
        ..policy
    };
    rules::check_content(table, &policy);
    policy
}

fn read_retry(table: &Reader<'_>, base: &RetryPolicy) -> RetryPolicy {
    let on = table.get("on", list(0, retry_on));
    let retry = RetryPolicy {
        attempts: table.get_or("attempts", number(1..=100), base.attempts),
        base: table.get_or("base", duration(TIMEOUT), base.base),
        max: table.get_or("max", duration(TIMEOUT), base.max),
        jitter: table.get_or("jitter", share, base.jitter),
        on_connect: match &on {
            Some(on) => on.contains(&RetryOn::Connect),
            None => base.on_connect,
        },
        on_status: match &on {
            Some(on) => on.iter().filter_map(status).collect(),
            None => base.on_status.clone(),
        },
    };
    let keys = ["max", "base"];
    let written = table.spot_of(&keys);
    if written.is_some() && table.sound(&keys) && retry.max < retry.base {
        let (max, base) = (short(retry.max), short(retry.base));
        table.fault(
            written,
            format!("retry.max is {max} here, expected at least retry.base, {base}"),
        );
    }
    retry
}

fn status(on: &RetryOn) -> Option<u16> {
    match on {
        RetryOn::Status(status) => Some(*status),
        RetryOn::Connect => None,
    }
}

/// A record must outlive the exchange that it guards, or the key would be free while the upstream still works.
fn check_unknown_retention(table: &Reader<'_>, policy: &Policy) {
    let keys = ["unknown_retention", "upstream_timeout", "lease"];
    let least = policy.upstream_timeout + 2 * policy.lease;
    let written = table.spot_of(&keys);
    if written.is_some() && table.sound(&keys) && policy.unknown_retention < least {
        let (is, least) = (short(policy.unknown_retention), short(least));
        table.fault(
            written,
            format!(
                "unknown_retention is {is} here, expected at least upstream_timeout + 2 × lease, {least}"
            ),
        );
    }
}

fn check_scope(table: &Reader<'_>, policy: &Policy, has_jwt: bool) {
    let written = table.spot_of(&["scope"]);
    let claims = policy
        .scope
        .iter()
        .any(|part| matches!(part, ScopePart::Jwt(_)));
    if written.is_some() && claims && !has_jwt && table.sound(&["scope"]) {
        table.fault(
            written,
            "expected a [jwt] with \"jwt:\": a claim counts only if the token verifies",
        );
    }
}

/// A key from the content is for as long as two requests that are alike cannot both be meant, which only the route knows.
fn check_content(table: &Reader<'_>, policy: &Policy) {
    let keys = ["key", "retention", "fingerprint"];
    if !policy.key.contains(&KeySource::Content) || !table.sound(&keys) {
        return;
    }
    if let written @ Some(_) = table.spot_of(&["key"]) {
        if policy.key.last() != Some(&KeySource::Content) {
            table.fault(
                written,
                "expected \"content\" last: every request has one, and what stands after it is never asked",
            );
        } else if table.spot_of(&["retention"]).is_none() {
            table.fault(
                written,
                "expected `retention` here too, with \"content\": within it, two requests that are alike count as one",
            );
        }
    }
    let written = table.spot_of(&["fingerprint", "key"]);
    let of_body = [FingerprintPart::Body, FingerprintPart::JsonBody];
    if written.is_some() && !of_body.iter().any(|part| policy.fingerprint.contains(part)) {
        table.fault(
            written,
            "expected \"body\" or \"json-body\" in `fingerprint` with the key \"content\": requests with different bodies would have one key",
        );
    }
}

fn check_json_body(table: &Reader<'_>, policy: &Policy) {
    if !table.sound(&["fingerprint", "fingerprint_ignore"]) {
        return;
    }
    let has = |part| policy.fingerprint.contains(&part);
    let written = table.spot_of(&["fingerprint"]);
    if written.is_some() && has(FingerprintPart::Body) && has(FingerprintPart::JsonBody) {
        table.fault(written, "expected \"body\" or \"json-body\", not both");
    }
    let written = table.spot_of(&["fingerprint_ignore"]);
    let ignores = !policy.json_body.ignored().is_empty();
    if written.is_some() && ignores && !has(FingerprintPart::JsonBody) {
        table.fault(
            written,
            "expected \"json-body\" in `fingerprint` with it: pointers lead into JSON",
        );
    }
}

const UUID7_MAX_FUTURE: std::ops::RangeInclusive<std::time::Duration> =
    std::time::Duration::ZERO..=RETENTION_MAX;
const RETENTION: std::ops::RangeInclusive<std::time::Duration> = RETENTION_MIN..=RETENTION_MAX;
const TIMEOUT: std::ops::RangeInclusive<std::time::Duration> = TIMEOUT_MIN..=TIMEOUT_MAX;

pub(super) const MODE: &[(&str, Mode)] = &[
    ("enforce", Mode::Enforce),
    ("observe", Mode::Observe),
    ("off", Mode::Off),
];
pub(super) const IN_FLIGHT: &[(&str, Meanwhile)] =
    &[("reject", Meanwhile::Reject), ("wait", Meanwhile::Wait)];
pub(super) const UNKNOWN_OUTCOME: &[(&str, UnknownOutcome)] = &[
    ("reject", UnknownOutcome::Reject),
    ("retry", UnknownOutcome::Retry),
    ("probe", UnknownOutcome::Probe),
];
pub(super) const CUT_UPLOAD: &[(&str, CutUpload)] = &[
    ("unknown", CutUpload::Unknown),
    ("release", CutUpload::Release),
];
pub(super) const STORE_ERROR: &[(&str, StoreFailure)] = &[
    ("reject", StoreFailure::Reject),
    ("forward", StoreFailure::Forward),
];
