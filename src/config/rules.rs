//! `[[policy.response]]`, and what the upstream is asked beside the requests: `probe` and `replay_check`.

use std::time::Duration;

use http::HeaderName;
use toml::de::DeValue;

use super::defaults::{
    PROBE_AFTER, PROBE_STATUS, REPLAY_CHECK_CACHE, RETENTION_MAX, RETENTION_MIN, TIMEOUT_MAX,
};
use super::kind::{Read, Value, Wrong, duration, number, one_of, short, wrong};
use super::reader::Reader;
use super::words::{HOP_BY_HOP, absent_statuses, statuses, successful, template};
use crate::idempotency::json::{Json, Pointer};
use crate::idempotency::{Finality, ResponseRule, Statuses, Template};
use crate::proxy::Policy;
use crate::proxy::policy::{KeySource, Probe, ReplayCheck, UnknownOutcome};

/// The rules of a table, and after them those of the policy that it builds on.
pub(super) fn responses(table: &Reader<'_>, policy: &Policy) -> Vec<ResponseRule> {
    let mut rules = Vec::new();
    table.sections("response", |rule| rules.extend(response(rule, policy)));
    let least = least_retention(policy);
    let keys = ["upstream_timeout", "lease"];
    let written = table.spot_of(&keys);
    let short_lived = |rule: &&ResponseRule| {
        rule.outcome == Finality::Unknown && rule.retention.is_some_and(|kept| kept < least)
    };
    if let Some(Some(kept)) = policy
        .responses
        .iter()
        .find(short_lived)
        .map(|rule| rule.retention)
        && written.is_some()
        && table.sound(&keys)
    {
        let (kept, least) = (short(kept), short(least));
        table.fault(
            written,
            format!(
                "a response rule of [policy] keeps what is unknown for {kept}, expected at least upstream_timeout + 2 × lease, {least} here"
            ),
        );
    }
    rules.extend(policy.responses.iter().cloned());
    rules
}

/// What may be under way is not forgotten meanwhile.
fn least_retention(policy: &Policy) -> Duration {
    policy.upstream_timeout + 2 * policy.lease
}

fn response(table: &Reader<'_>, policy: &Policy) -> Option<ResponseRule> {
    let status = table.get("status", statuses);
    let json = table.get("json", members);
    let header = table.get("header", fields);
    let outcome = table.get("outcome", one_of(OUTCOME));
    let retention = table.get("retention", duration(RETENTION_MIN..=RETENTION_MAX));
    let reply_status = table.get("reply_status", reply_status);
    let reply_from = table.get("reply_from", template);
    if table.spot_of(&["status", "json", "header"]).is_none() {
        table.fault(
            None,
            "expected `status`, `json` or `header`: without any it would match every answer",
        );
    }
    if table.spot_of(&["outcome"]).is_none() {
        table.fault(
            None,
            "`outcome` is missing, expected \"store\", \"release\" or \"unknown\"",
        );
    }
    let outcome = outcome?;
    if reply_from.is_some() && outcome != Finality::Store {
        table.fault(
            table.spot_of(&["reply_from"]),
            "expected `outcome = \"store\"` with it: what is fetched is kept",
        );
    }
    let may_be = |digit| status.is_none_or(|of: Statuses| of.meets(Statuses::class(digit)));
    let bare = table.spot_of(&["json", "header"]).is_none();
    if reply_from.is_some() && bare && (may_be(2) || may_be(3)) && table.sound(&["status"]) {
        table.fault(
            table.spot_of(&["reply_from"]),
            "expected `json` or `header` with it, or neither 2xx nor 3xx in `status`: if nothing can be fetched the key is free, though the request may have been carried out",
        );
    }
    let least = least_retention(policy);
    if outcome == Finality::Unknown && retention.is_some_and(|retention| retention < least) {
        let least = short(least);
        table.fault(
            table.spot_of(&["retention"]),
            format!(
                "expected at least upstream_timeout + 2 × lease, {least}, for what may be under way"
            ),
        );
    }
    Some(ResponseRule {
        status,
        json: json.unwrap_or_default(),
        header: header.unwrap_or_default(),
        outcome,
        retention,
        reply_status,
        reply_from,
    })
}

/// How the upstream is asked what became of an operation, over what holds where the table is silent.
pub(super) fn probe(table: &Reader<'_>, base: Option<&Probe>) -> Option<Probe> {
    table.section("probe", |probe| {
        let path = probe.get("path", template);
        let found = base.map_or(Statuses::SUCCESSFUL, |base| base.found);
        let found = probe.get_or("found", statuses, found);
        let absent = base.map_or(Statuses::one(404), |base| base.absent);
        let absent = probe.get_or("absent", absent_statuses, absent);
        let after = base.map_or(PROBE_AFTER, |base| base.after);
        let after = probe.get_or("after", duration(Duration::ZERO..=TIMEOUT_MAX), after);
        let status = base.map_or(PROBE_STATUS, |base| base.reply_status);
        let reply_status = probe.get_or("reply_status", reply_status, status);
        let keys = ["absent", "found"];
        if probe.is_written() && found.meets(absent) && probe.sound(&keys) {
            probe.fault(
                probe.spot_of(&keys),
                format!("expected no status that is both found ({found}) and absent ({absent})"),
            );
        }
        Some(Probe {
            path: path_of(probe, path, base.map(|base| &base.path))?,
            found,
            absent,
            after,
            reply_status,
        })
    })
}

/// How the upstream is asked about credentials, over what holds where the table is silent.
pub(super) fn replay_check(table: &Reader<'_>, base: Option<&ReplayCheck>) -> Option<ReplayCheck> {
    table.section("replay_check", |check| {
        let path = check.get("path", |value| match template(value)? {
            path if path.names_key() => wrong(
                value,
                "a path without {key}: it is about credentials, and not about a key",
            ),
            path => Ok(path),
        });
        let ok = base.map_or(Statuses::SUCCESSFUL, |base| base.ok);
        let ok = check.get_or("ok", successful, ok);
        let cache = base.map_or(REPLAY_CHECK_CACHE, |base| base.cache);
        let cache = check.get_or("cache", duration(Duration::ZERO..=TIMEOUT_MAX), cache);
        Some(ReplayCheck {
            path: path_of(check, path, base.map(|base| &base.path))?,
            ok,
            cache,
        })
    })
}

/// The path of a question, without which there is none.
fn path_of(
    table: &Reader<'_>,
    path: Option<Template>,
    base: Option<&Template>,
) -> Option<Template> {
    if table.is_written() && base.is_none() && table.spot_of(&["path"]).is_none() {
        table.fault(None, "`path` is missing, expected one, such as \"/orders\"");
    }
    path.or_else(|| base.cloned())
}

/// Whoever probes needs something to probe.
pub(super) fn check_probe(table: &Reader<'_>, policy: &Policy) {
    let written = table.spot_of(&["unknown_outcome"]);
    if policy.unknown_outcome == UnknownOutcome::Probe
        && policy.probe.is_none()
        && table.spot_of(&["probe"]).is_none()
        && written.is_some()
    {
        table.fault(
            written,
            "expected `probe` with it, such as { path = \"/orders?client_id={key}\" }",
        );
    }
}

/// A key from the content is this proxy's own: an upstream that is asked about it knows nothing, whatever it carried out.
pub(super) fn check_content(table: &Reader<'_>, policy: &Policy) {
    if !policy.key.contains(&KeySource::Content) || !table.sound(&["key", "probe", "response"]) {
        return;
    }
    let probe = policy.probe.as_ref();
    let probes = probe.is_some_and(|probe| probe.path.names_key());
    let probe_spot = match policy.unknown_outcome {
        UnknownOutcome::Probe => table.spot_of(&["probe", "unknown_outcome", "key"]),
        // Its probe is never asked, unless a route that builds on it does.
        _ => table.spot_of(&["probe"]),
    };
    let replies = policy
        .responses
        .iter()
        .filter_map(|rule| rule.reply_from.as_ref())
        .any(Template::names_key);
    let reply_spot = table.spot_of(&["response", "key"]);
    for (what, asks, spot) in [
        ("probe", probes, probe_spot),
        ("reply_from", replies, reply_spot),
    ] {
        if asks && spot.is_some() {
            table.fault(
                spot,
                format!(
                    "`{what}` asks by {{key}}, expected no \"content\" in `key` with it: the upstream has never seen such a key"
                ),
            );
        }
    }
}

/// A status that an answer with a body can have.
fn reply_status(value: &Value<'_>) -> Read<u16> {
    let status = number(200..=599)(value)?;
    match status {
        204 | 205 | 304 => wrong(value, "a status whose answers have a body"),
        _ => Ok(status),
    }
}

/// JSON pointers, and the scalars that they lead to.
fn members(value: &Value<'_>) -> Read<Vec<(Pointer, Json)>> {
    entries(
        value,
        "such as { \"/error/code\" = \"23505\" }",
        |name, value| {
            let pointer = name
                .parse::<Pointer>()
                .map_err(|error| Misfit::Name(format!("expected a JSON pointer: {error}")))?;
            let scalar = scalar(value).ok_or_else(|| {
                Misfit::Value("expected a string, a number, true or false".to_owned())
            })?;
            Ok((pointer, scalar))
        },
    )
}

/// Names of headers in lower case, and the values that they have.
fn fields(value: &Value<'_>) -> Read<Vec<(String, String)>> {
    entries(
        value,
        "such as { \"server\" = \"envoy\" }",
        |name, value| {
            let name = name
                .parse::<HeaderName>()
                .ok()
                .filter(|name| !HOP_BY_HOP.contains(&name.as_str()))
                .ok_or_else(|| {
                    let expected = "expected the name of a header that goes from end to end";
                    Misfit::Name(expected.to_owned())
                })?;
            let value = value
                .as_str()
                .ok_or_else(|| Misfit::Value("expected the header's value, a string".to_owned()))?;
            Ok((name.as_str().to_owned(), value.to_owned()))
        },
    )
}

/// What was expected of an entry: its name is wrong, or its value.
enum Misfit {
    Name(String),
    Value(String),
}

/// The entries of a table with names of the operator's own.
fn entries<T>(
    value: &Value<'_>,
    example: &str,
    entry: impl Fn(&str, &DeValue<'_>) -> Result<T, Misfit>,
) -> Read<Vec<T>> {
    let Some(table) = value.get_ref().as_table().filter(|table| !table.is_empty()) else {
        return wrong(value, format!("a table {example}"));
    };
    let (mut read, mut wrongs) = (Vec::new(), Vec::new());
    for (name, value) in table {
        match entry(name.get_ref(), value.get_ref()) {
            Ok(entry) => read.push(entry),
            Err(misfit) => {
                let (span, expected) = match misfit {
                    Misfit::Name(expected) => (name.span(), expected),
                    Misfit::Value(expected) => (value.span(), expected),
                };
                wrongs.push(Wrong { span, expected });
            }
        }
    }
    if wrongs.is_empty() {
        Ok(read)
    } else {
        Err(wrongs)
    }
}

fn scalar(value: &DeValue<'_>) -> Option<Json> {
    match value {
        DeValue::String(text) => Some(Json::String(text.to_string())),
        DeValue::Boolean(flag) => Some(Json::Bool(*flag)),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            Some(Json::Number(number.to_string()))
        }
        DeValue::Float(float) => {
            let literal = float.as_str().trim_start_matches('+');
            Json::parse(literal.as_bytes())
                .ok()
                .filter(|json| matches!(json, Json::Number(_)))
        }
        _ => None,
    }
}

pub(super) const OUTCOME: &[(&str, Finality)] = &[
    ("store", Finality::Store),
    ("release", Finality::Release),
    ("unknown", Finality::Unknown),
];
