//! The effective configuration, as `check` prints it.

use std::fmt::{self, Display, Formatter, Write};

use bytesize::ByteSize;
use http::HeaderValue;

use super::kind::short;
use super::settings::Settings;
use crate::idempotency::json::Pointer;
use crate::idempotency::{Finality, KeyFormat, ResponseRule, built_in};
use crate::proxy::jwt::TokenRules;
use crate::proxy::policy::{
    CutUpload, FingerprintPart, KeySource, Meanwhile, Mode, Policy, Probe, RetryPolicy, ScopePart,
    StoreFailure, UnknownOutcome,
};
use crate::wire::Voice;

impl Settings {
    /// For people: where it listens and keeps its records, each route's effective policy, and what weakens it.
    pub fn describe(&self) -> impl Display + '_ {
        Description(self)
    }
}

struct Description<'a>(&'a Settings);

impl Display for Description<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(settings) = self;
        match &settings.server.tls {
            None => line(f, "listen", settings.listen)?,
            Some(tls) => {
                let asked = if tls.asks_for_certificates() {
                    " (HTTPS; clients must show a certificate)"
                } else {
                    " (HTTPS)"
                };
                line(f, "listen", format_args!("{}{asked}", settings.listen))?;
            }
        }
        match &settings.admin {
            Some(admin) => {
                line(f, "admin", admin.listen)?;
                let token = if admin.token.is_some() {
                    "required"
                } else {
                    "none"
                };
                line(f, "admin.token_file", token)?;
                line(f, "admin.hosts", words(&admin.hosts, String::clone))?;
            }
            None => line(f, "admin", "off")?,
        }
        line(f, "service", &settings.service)?;
        line(f, "store", format_args!("{:?}", settings.store.location))?;
        if let Some(file) = settings.store.location.file() {
            line(f, "records", file.display())?;
        }
        if settings.reload.watch {
            line(f, "reload", "whenever the content changes")?;
        }
        if let Some(keys) = settings.store.codec.keys() {
            let keys = format_args!("stored answers, by the first of {keys} keys");
            line(f, "encryption", keys)?;
        }
        if settings.store.secret.is_set() {
            line(f, "secret", "record ids and fingerprints are made under it")?;
        }
        voice(f, &settings.server.voice)?;
        line(f, "log.keys", settings.log.keys)?;
        if let Some(jwt) = &settings.jwt {
            line(f, "jwt", rules(jwt.rules()))?;
        }
        let routes = &settings.routes;
        for (policy, pattern) in routes.all().iter().zip(routes.patterns()) {
            match pattern.as_str() {
                "" => writeln!(f, "\nroute {} (where no other matches)", policy.route)?,
                pattern => writeln!(f, "\nroute {} {pattern}", policy.route)?,
            }
            line(f, "upstream", origin(settings, policy))?;
            describe(f, policy)?;
        }
        match settings.warnings.as_slice() {
            [] => writeln!(f, "\nnothing weakens the guarantee"),
            warnings => {
                writeln!(f, "\nwhat weakens the guarantee")?;
                warnings
                    .iter()
                    .try_for_each(|warning| writeln!(f, "  - {warning}"))
            }
        }
    }
}

fn voice(f: &mut Formatter<'_>, voice: &Voice) -> fmt::Result {
    let names = &voice.names;
    let headers = format_args!("replay {}, stored {}", names.replay, names.stored);
    line(f, "headers", headers)?;
    match &voice.body {
        None => line(f, "errors", "application/problem+json")?,
        Some(body) => {
            let content_type = String::from_utf8_lossy(body.content_type.as_bytes());
            line(f, "errors", format_args!("{content_type}, by template"))?;
        }
    }
    if !voice.details.is_empty() {
        let codes: Vec<_> = voice.details.keys().copied().collect();
        line(f, "errors.detail", codes.join(" "))?;
    }
    let origin = |origin: &HeaderValue| String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let mut origins: Vec<String> = voice.origins.named.iter().map(origin).collect();
    if voice.origins.any {
        origins.push("*".to_owned());
    }
    line(f, "errors.cors_origins", words(&origins, String::clone))
}

fn describe(f: &mut Formatter<'_>, policy: &Policy) -> fmt::Result {
    match policy.mode {
        Mode::Enforce => line(f, "mode", "enforce")?,
        Mode::Observe => line(
            f,
            "mode",
            "observe (every request passes as it is; what enforcement would do is counted)",
        )?,
        Mode::Off => return line(f, "mode", "off (every request passes as it is)"),
    }
    line(
        f,
        "methods",
        words(&policy.methods, |method| method.to_string()),
    )?;
    line(f, "key", words(&policy.key, key_source))?;
    line(f, "key_required", policy.key_required)?;
    line(f, "key_max_length", policy.key_max_length)?;
    line(f, "key_format", key_format(policy))?;
    line(f, "scope", words(&policy.scope, ScopePart::to_string))?;
    line(
        f,
        "fingerprint",
        words(&policy.fingerprint, fingerprint_part),
    )?;
    if policy.fingerprint.contains(&FingerprintPart::JsonBody) {
        let ignored = policy.json_body.ignored();
        line(f, "fingerprint_ignore", words(ignored, Pointer::to_string))?;
    }
    line(f, "retention", short(policy.retention))?;
    line(f, "failed_retention", short(policy.failed_retention))?;
    line(f, "unknown_retention", short(policy.unknown_retention))?;
    line(f, "lease", short(policy.lease))?;
    match policy.in_flight {
        Meanwhile::Reject => line(f, "in_flight", "reject")?,
        Meanwhile::Wait => {
            line(f, "in_flight", "wait")?;
            line(f, "wait_timeout", short(policy.wait_timeout))?;
        }
    }
    line(f, "unknown_outcome", policy.unknown_outcome.name())?;
    line(
        f,
        "cut_upload",
        match policy.cut_upload {
            CutUpload::Unknown => "unknown",
            CutUpload::Release => "release",
        },
    )?;
    line(
        f,
        "store_error",
        match policy.store_error {
            StoreFailure::Reject => "reject",
            StoreFailure::Forward => "forward",
        },
    )?;
    line(f, "client_timeout", short(policy.client_timeout))?;
    line(f, "upstream_timeout", short(policy.upstream_timeout))?;
    line(
        f,
        "max_buffered_request",
        ByteSize(policy.max_buffered_request),
    )?;
    line(
        f,
        "max_stored_response",
        ByteSize(policy.max_stored_response),
    )?;
    match policy.max_request_body {
        Some(size) => line(f, "max_request_body", ByteSize(size))?,
        None => line(f, "max_request_body", "none")?,
    }
    line(f, "preserve_host", policy.preserve_host)?;
    line(f, "store_set_cookie", policy.store_set_cookie)?;
    line(f, "retry", retry(&policy.retry))?;
    for rule in &policy.responses {
        line(f, "response", response(rule))?;
    }
    if let Some(probe) = &policy.probe {
        line(f, "probe", self::probe(probe))?;
    }
    if let Some(check) = &policy.replay_check {
        let cache = short(check.cache);
        line(
            f,
            "replay_check",
            format_args!("GET {}, ok {}, cache {cache}", check.path, check.ok),
        )?;
    }
    line(f, "may run again", may_run_again(policy))
}

fn rules(rules: &TokenRules) -> String {
    let algorithms = words(&rules.algorithms, |algorithm| format!("{algorithm:?}"));
    let any = |value: &Option<String>| value.clone().unwrap_or_else(|| "any".to_owned());
    format!(
        "{algorithms}, issuer {}, audience {}, leeway {}",
        any(&rules.issuer),
        any(&rules.audience),
        short(rules.leeway)
    )
}

/// The statuses after which the key is free again, by the policy's rules and the built-in ones.
fn may_run_again(policy: &Policy) -> String {
    if policy.mode == Mode::Observe {
        return "always: nothing is enforced".to_owned();
    }
    let ruled = !policy.responses.is_empty() || !policy.retry.on_status.is_empty();
    let (released, unknown) = if ruled {
        (by_rules(policy), "unknown outcomes")
    } else {
        let built_in = "after 401, 403, 407, 408, 409, 421, 423, 425, 429, and 5xx but 502 and 504";
        (built_in.to_owned(), "502, 504 and lost connections")
    };
    match policy.unknown_outcome {
        UnknownOutcome::Reject => released,
        UnknownOutcome::Retry => format!("{released}; and after {unknown} (unknown_outcome)"),
        UnknownOutcome::Probe => format!(
            "{released}; and after {unknown} if the upstream says that it was not done (unknown_outcome)"
        ),
    }
}

fn by_rules(policy: &Policy) -> String {
    let released = |always: bool| {
        (200..=599).filter(move |status| {
            let outcomes = outcomes(policy, *status);
            let all = outcomes.iter().all(|outcome| *outcome == Finality::Release);
            outcomes.contains(&Finality::Release) && all == always
        })
    };
    let (always, sometimes) = (ranges(released(true)), ranges(released(false)));
    match (always.as_str(), sometimes.as_str()) {
        ("", "") => "after no status".to_owned(),
        (always, "") => format!("after {always}"),
        ("", sometimes) => format!("after {sometimes} by their response rules"),
        _ => format!("after {always}; by their response rules also after {sometimes}"),
    }
}

/// All that may follow from an answer of this status.
fn outcomes(policy: &Policy, status: u16) -> Vec<Finality> {
    let mut outcomes = Vec::new();
    let of_status = |rule: &&ResponseRule| rule.status.is_none_or(|of| of.contains(status));
    for rule in policy.responses.iter().filter(of_status) {
        outcomes.push(rule.outcome);
        if rule.reply_from.is_some() {
            // Without anything to reply with the key is released.
            outcomes.push(Finality::Release);
        }
        if rule.json.is_empty() && rule.header.is_empty() {
            return outcomes;
        }
    }
    outcomes.push(if policy.retry.on_status.contains(&status) {
        Finality::Release
    } else {
        built_in(status)
    });
    outcomes
}

/// Rising numbers, those in a row as a range.
fn ranges(statuses: impl Iterator<Item = u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for status in statuses {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == status => *last = status,
            _ => ranges.push((status, status)),
        }
    }
    let texts: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            _ => format!("{first}-{last}"),
        })
        .collect();
    texts.join(", ")
}

fn response(rule: &ResponseRule) -> String {
    let mut text = match rule.status {
        Some(statuses) => statuses.to_string(),
        None => "any status".to_owned(),
    };
    for (pointer, value) in &rule.json {
        let value = value.canonical();
        text += &format!(", json {pointer} = {}", String::from_utf8_lossy(&value));
    }
    for (name, value) in &rule.header {
        text += &format!(", header {name} = {value:?}");
    }
    text += match rule.outcome {
        Finality::Store => ": store",
        Finality::Release => ": release",
        Finality::Unknown => ": unknown",
    };
    if let Some(retention) = rule.retention {
        text += &format!(" for {}", short(retention));
    }
    if let Some(from) = &rule.reply_from {
        text += &format!(", reply from GET {from}");
    }
    if let Some(status) = rule.reply_status {
        text += &format!(", reply with {status}");
    }
    text
}

fn probe(probe: &Probe) -> String {
    let Probe {
        path,
        found,
        absent,
        after,
        reply_status,
    } = probe;
    let after = short(*after);
    format!(
        "GET {path}, found {found} (replied with {reply_status}), absent {absent} after {after}"
    )
}

fn retry(retry: &RetryPolicy) -> String {
    let connect = retry.on_connect.then(|| "connect".to_owned());
    let on: Vec<String> = connect
        .into_iter()
        .chain(retry.on_status.iter().map(u16::to_string))
        .collect();
    format!(
        "{} attempts, {} to {} apart, jitter {}, on {}",
        retry.attempts,
        short(retry.base),
        short(retry.max),
        retry.jitter,
        if on.is_empty() {
            "nothing".to_owned()
        } else {
            on.join(" ")
        },
    )
}

fn origin(settings: &Settings, policy: &Policy) -> String {
    let upstream = settings.upstreams.get(policy.upstream);
    let url = upstream.map(|upstream| upstream.origin.to_string());
    url.unwrap_or_default().trim_end_matches('/').to_owned()
}

fn key_source(source: &KeySource) -> String {
    match source {
        KeySource::Header(name) => format!("header:{name}"),
        KeySource::Query(name) => format!("query:{name}"),
        KeySource::Cookie(name) => format!("cookie:{name}"),
        KeySource::Json(pointer) => format!("json:{pointer}"),
        KeySource::Content => "content".to_owned(),
    }
}

fn key_format(policy: &Policy) -> String {
    match &policy.key_format {
        KeyFormat::Any => "any".to_owned(),
        KeyFormat::Uuid => "uuid".to_owned(),
        KeyFormat::Uuid4 => "uuid4".to_owned(),
        KeyFormat::Uuid7 => format!(
            "uuid7, at most {} ahead and {} behind",
            short(policy.uuid7.max_future),
            short(policy.uuid7.max_age)
        ),
        KeyFormat::Pattern(pattern) => format!("regex:{}", pattern.as_str()),
    }
}

fn fingerprint_part(part: &FingerprintPart) -> String {
    match part {
        FingerprintPart::Method => "method".to_owned(),
        FingerprintPart::Path => "path".to_owned(),
        FingerprintPart::Query => "query".to_owned(),
        FingerprintPart::Body => "body".to_owned(),
        FingerprintPart::JsonBody => "json-body".to_owned(),
        FingerprintPart::Header(name) => format!("header:{name}"),
    }
}

fn words<T>(items: &[T], word: impl Fn(&T) -> String) -> String {
    match items {
        [] => "(nothing)".to_owned(),
        items => items.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

fn line(f: &mut impl Write, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<21} {value}")
}
