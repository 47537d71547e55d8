//! What each key may be.

use serde_json::{Value, json};

use crate::config::defaults::{
    FINGERPRINT_PARTS_MAX, JWT_LEEWAY, PROBE_AFTER, PROBE_STATUS, REPLAY_CHECK_CACHE,
};
use crate::config::file::SYNC;
use crate::config::kind::short;
use crate::config::policy::{CUT_UPLOAD, IN_FLIGHT, MODE, STORE_ERROR, UNKNOWN_OUTCOME};
use crate::config::rules::OUTCOME;
use crate::wire::Code;

/// What a key stands for.
pub(super) enum Shape {
    /// A setting.
    Is(Value),
    /// The table of this section.
    Table(&'static str),
    /// Tables, each as this section.
    Tables(&'static str),
}

use Shape::{Is, Table, Tables};

/// The keys of a section.
pub(super) fn keys(section: &str) -> Vec<(&'static str, Shape)> {
    let is = |key, shape| (key, Is(shape));
    match section {
        "" => vec![
            is("listen", address()),
            is("upstream", origin()),
            is("service", name()),
            ("admin", Table("admin")),
            ("store", Table("store")),
            ("server", Table("server")),
            ("upstream_connections", Table("upstream_connections")),
            ("jwt", Table("jwt")),
            ("headers", Table("headers")),
            ("errors", Table("errors")),
            ("reload", Table("reload")),
            ("log", Table("log")),
            ("policy", Table("policy")),
            ("route", Tables("route")),
        ],
        "admin" => vec![
            is("listen", json!({"anyOf": [address(), {"const": "off"}]})),
            is("token_file", file()),
            is("hosts", list(0, text("^[A-Za-z0-9._-]{1,253}$"))),
        ],
        "store" => vec![
            is(
                "url",
                text("^(memory:$|embedded:.|rediss?(\\+sentinel|\\+cluster)?://)"),
            ),
            is("timeout", duration()),
            is("sync", words(SYNC)),
            is("max_bytes", size()),
            is("prefix", text("^[A-Za-z0-9._:-]{1,64}$")),
            is("wait_replicas", number(0, 100)),
            is("allow_eviction", boolean()),
            is("secret_file", file()),
            is("encryption_keys", list(1, file())),
            is("ca_file", file()),
            is("cert_file", file()),
            is("key_file", file()),
        ],
        "server" => vec![
            is("tls_cert", file()),
            is("tls_key", file()),
            is("tls_client_ca", file()),
            is("max_connections", number(1, 10_000_000)),
            is("max_in_flight", number(1, 10_000_000)),
            is("max_buffered_total", size()),
            is("max_waiters", number(0, 10_000_000)),
            is("header_timeout", duration()),
            is("body_idle_timeout", duration()),
            is("max_header_bytes", size()),
            is("drain_delay", duration()),
            is("drain_timeout", duration()),
            is(
                "trust_forwarded",
                list(0, text("^(loopback|private|[0-9a-fA-F.:]+(/[0-9]+)?)$")),
            ),
        ],
        "upstream_connections" => vec![
            is("connect_timeout", duration()),
            is("idle_timeout", duration()),
            is("max_idle", number(0, 1_000_000)),
            is("max_connections", number(1, 1_000_000)),
            is("ca_file", file()),
            is("cert_file", file()),
            is("key_file", file()),
        ],
        "log" => vec![is("keys", boolean())],
        "reload" => vec![is("watch", boolean())],
        "headers" => vec![is("replay", file()), is("stored", file())],
        "errors" => vec![
            is("body", json!({"type": "string"})),
            is("content_type", text("^[^/\\s]+/[^/\\s]")),
            is(
                "cors_origins",
                list(0, text("^(\\*|[a-z][a-z0-9+.-]*://[a-z0-9._:\\[\\]-]+)$")),
            ),
            ("detail", Table("errors.detail")),
        ],
        "errors.detail" => Code::all_kebab()
            .map(|code| is(code, json!({"type": "string"})))
            .collect(),
        "jwt" => vec![
            is("keys", file()),
            is("secret_file", file()),
            is(
                "algorithms",
                list(
                    1,
                    text("^([RP]S(256|384|512)|ES(256|384)|EdDSA|HS(256|384|512))$"),
                ),
            ),
            is("issuer", file()),
            is("audience", file()),
            is("leeway", or(duration(), short(JWT_LEEWAY))),
        ],
        "policy" => policy(),
        "policy.retry" => vec![
            is("attempts", number(1, 100)),
            is("base", duration()),
            is("max", duration()),
            is(
                "jitter",
                json!({"type": "number", "minimum": 0, "maximum": 1}),
            ),
            is("on", list(0, text("^(connect|[45][0-9]{2})$"))),
        ],
        "policy.probe" => vec![
            is("path", template()),
            is("found", or(statuses(), "2xx")),
            is("absent", or(statuses(), "404")),
            is("after", or(duration(), short(PROBE_AFTER))),
            is("reply_status", or(reply_status(), PROBE_STATUS)),
        ],
        "policy.replay_check" => vec![
            is("path", template()),
            is("ok", or(statuses(), "2xx")),
            is("cache", or(duration(), short(REPLAY_CHECK_CACHE))),
        ],
        "policy.response" => vec![
            is("status", statuses()),
            is(
                "json",
                entries("^(/.*)?$", json!({"type": ["string", "number", "boolean"]})),
            ),
            is(
                "header",
                entries("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", json!({"type": "string"})),
            ),
            is("outcome", words(OUTCOME)),
            is("retention", duration()),
            is("reply_status", reply_status()),
            is("reply_from", template()),
        ],
        "route" => {
            let mut keys = policy();
            keys.push(is("name", name()));
            keys.push(is("path", text("^/[^?#\"<>\\\\^`|\\s]*$")));
            keys.push(is("upstream", origin()));
            keys
        }
        _ => Vec::new(),
    }
}

fn policy() -> Vec<(&'static str, Shape)> {
    let is = |key, shape| (key, Is(shape));
    let pointer = || text("^/");
    let mut fingerprint = list(0, text("^(method|path|query|body|json-body|header:.+)$"));
    fingerprint["maxItems"] = json!(FINGERPRINT_PARTS_MAX);
    vec![
        is("mode", words(MODE)),
        is("methods", list(1, text("^[^a-z\\s]+$"))),
        is(
            "key",
            list(1, text("^(header:.+|query:.+|cookie:.+|json:/.*|content)$")),
        ),
        is("key_required", boolean()),
        is("key_max_length", number(1, 4096)),
        is("key_format", text("^(any|uuid|uuid4|uuid7|regex:.*)$")),
        is("uuid7_max_future", duration()),
        is("uuid7_max_age", duration()),
        is(
            "scope",
            list(
                0,
                text("^(method|path|caller|query|header:.+|cookie:.+|jwt:.+|client-ip)$"),
            ),
        ),
        is("fingerprint", fingerprint),
        is("fingerprint_ignore", list(0, pointer())),
        is("retention", duration()),
        is("failed_retention", duration()),
        is("unknown_retention", duration()),
        is("lease", duration()),
        is("in_flight", words(IN_FLIGHT)),
        is("wait_timeout", duration()),
        is("unknown_outcome", words(UNKNOWN_OUTCOME)),
        is("cut_upload", words(CUT_UPLOAD)),
        is("store_error", words(STORE_ERROR)),
        is("client_timeout", duration()),
        is("upstream_timeout", duration()),
        is("max_buffered_request", size()),
        is("max_stored_response", size()),
        is(
            "max_request_body",
            json!({"anyOf": [{"const": "none"}, size()]}),
        ),
        is("preserve_host", boolean()),
        is("store_set_cookie", boolean()),
        ("retry", Table("policy.retry")),
        ("probe", Table("policy.probe")),
        ("replay_check", Table("policy.replay_check")),
        ("response", Tables("policy.response")),
    ]
}

/// What else holds for a section.
pub(super) fn required(section: &str) -> Vec<(&'static str, Value)> {
    match section {
        "route" => vec![("required", json!(["path"]))],
        "policy.response" => {
            let any = ["status", "json", "header"].map(|key| json!({"required": [key]}));
            vec![("required", json!(["outcome"])), ("anyOf", json!(any))]
        }
        _ => Vec::new(),
    }
}

fn text(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn words<T>(words: &[(&'static str, T)]) -> Value {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    json!({"enum": names})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn number(min: u64, max: u64) -> Value {
    json!({"type": "integer", "minimum": min, "maximum": max})
}

fn list(min: usize, items: Value) -> Value {
    json!({"type": "array", "items": items, "minItems": min, "uniqueItems": true})
}

/// As humantime reads it.
fn duration() -> Value {
    text(
        "^\\s*(0|([0-9][0-9\\s]*(\\.[0-9]+)?\\s*(nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds|second|secs|sec|s|minutes|minute|mins|min|m|hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y)\\s*)+)$",
    )
}

/// A number of bytes, or a text with its unit.
fn size() -> Value {
    json!({
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": "^[0-9.]+\\s*([KMGTPEkmgtpe]([Ii]?[Bb])?|[KMGTPEkmgtpe][Ii]|[Bb])?$",
    })
}

fn file() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 100})
}

fn address() -> Value {
    text("^([0-9.]+|\\[[0-9a-fA-F:.]+(%[0-9]+)?\\]):[0-9]{1,5}$")
}

fn origin() -> Value {
    text("^[hH][tT][tT][pP][sS]?://[^/?#@\\s]+/?$")
}

fn statuses() -> Value {
    text("^([2-5][0-9]{2}(-[2-5][0-9]{2})?|[2-5]xx)$")
}

/// One whose answers have a body.
fn reply_status() -> Value {
    json!({"type": "integer", "minimum": 200, "maximum": 599, "not": {"enum": [204, 205, 304]}})
}

fn template() -> Value {
    text("^/")
}

/// A table with names of the operator's own.
fn entries(names: &str, value: Value) -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": names},
        "additionalProperties": value,
    })
}

fn or(mut shape: Value, default: impl Into<Value>) -> Value {
    shape["default"] = default.into();
    shape
}
