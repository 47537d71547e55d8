//! `[errors]` and `[headers]`: how the proxy speaks where it speaks itself.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::kind::{Read, Value, list, text, wrong};
use super::nearest::nearest;
use super::reader::Reader;
use crate::wire::{
    Code, ErrorBody, HeaderNames, Origins, PLACEHOLDERS, Template, UnknownPlaceholder, Voice,
};

/// Reads both.
pub(super) fn read(root: &Reader<'_>) -> Voice {
    let names = root.section("headers", names);
    root.section("errors", |table| {
        let listed = table.get_or("cors_origins", list(0, origin), Vec::new());
        Voice {
            body: body(table),
            details: table.section("detail", details),
            names,
            origins: Origins {
                any: listed.contains(&ANY),
                named: listed.into_iter().filter(|origin| *origin != ANY).collect(),
            },
        }
    })
}

fn names(table: &Reader<'_>) -> HeaderNames {
    let default = HeaderNames::default();
    let replay = table.get_or(
        "replay",
        header_name(&default.replay),
        default.replay.clone(),
    );
    let stored = table.get_or(
        "stored",
        header_name(&default.stored),
        default.stored.clone(),
    );
    if replay == stored && table.sound(&["replay", "stored"]) {
        table.fault(
            table.spot_of(&["stored", "replay"]),
            "expected different names for `replay` and `stored`",
        );
    }
    HeaderNames { replay, stored }
}

fn body(table: &Reader<'_>) -> Option<ErrorBody> {
    let template = table.get("body", template);
    let content_type = table.get("content_type", content_type);
    let keys = ["body", "content_type"];
    if !table.sound(&keys) {
        return None;
    }
    let Some(template) = template else {
        if content_type.is_some() {
            table.fault(
                table.spot_of(&["content_type"]),
                "expected `body` with it: without one the answers are application/problem+json",
            );
        }
        return None;
    };
    let body = ErrorBody {
        template,
        content_type: content_type.unwrap_or(super::defaults::ERROR_CONTENT_TYPE),
    };
    if body.says_json()
        && let Err(error) = body.template.as_json()
    {
        table.fault(
            table.spot_of(&["body"]),
            format!(
                "not JSON once it is filled in ({error}), expected placeholders within strings, as in {{\"code\":\"{{code}}\"}}, or another `content_type`"
            ),
        );
    }
    Some(body)
}

fn details(table: &Reader<'_>) -> BTreeMap<&'static str, String> {
    let said = Code::all_kebab().filter_map(|code| {
        let detail = table.get(code, text("a text", |text| Some(text.to_owned())));
        Some((code, detail?))
    });
    said.collect()
}

fn template(value: &Value<'_>) -> Read<Template> {
    let Some(written) = value.get_ref().as_str() else {
        return wrong(value, "a text");
    };
    written.parse().or_else(|UnknownPlaceholder(word)| {
        let known = "{code}, {detail}, {status} or {id}";
        match nearest(&word, PLACEHOLDERS.into_iter()) {
            Some(near) => wrong(
                value,
                format!("{known} in the place of {{{word}}}, did you mean {{{near}}}?"),
            ),
            None => wrong(value, format!("{known} in the place of {{{word}}}")),
        }
    })
}

fn content_type(value: &Value<'_>) -> Read<HeaderValue> {
    text(
        "a media type, such as \"application/json\" or \"text/plain; charset=utf-8\"",
        |text| {
            let (kind, subtype) = text.split(';').next()?.trim_end().split_once('/')?;
            // The characters of both are those of a header's name (RFC 9110, section 8.3.1).
            let tokens = [kind, subtype]
                .iter()
                .all(|part| part.parse::<HeaderName>().is_ok());
            HeaderValue::try_from(text)
                .ok()
                .filter(|_| tokens && text.is_ascii())
        },
    )(value)
}

/// An origin as browsers serialise it: with the scheme, in small letters, without a default port.
fn origin(value: &Value<'_>) -> Read<HeaderValue> {
    text(
        "an origin as browsers send it, such as \"https://app.example\" or \"http://localhost:5173\", or \"*\"",
        |text| {
            let (scheme, authority) = match text {
                "*" => return Some(ANY),
                _ => text.split_once("://")?,
            };
            let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_lowercase())
                && scheme
                    .bytes()
                    .all(|byte| small(byte) || b"+-.".contains(&byte));
            let host = authority
                .bytes()
                .all(|byte| small(byte) || b"-._:[]".contains(&byte));
            let authority: http::uri::Authority = authority.parse().ok().filter(|_| host)?;
            let port = match (authority.as_str().len() > authority.host().len(), scheme) {
                (false, _) => true,
                (true, "http") => !matches!(authority.port_u16(), None | Some(0 | 80)),
                (true, "https") => !matches!(authority.port_u16(), None | Some(0 | 443)),
                (true, _) => !matches!(authority.port_u16(), None | Some(0)),
            };
            let fits = scheme_fits && port && !authority.host().is_empty();
            HeaderValue::try_from(text).ok().filter(|_| fits)
        },
    )(value)
}

/// A name that nothing else in an answer has; `own` is the default one.
fn header_name(own: &HeaderName) -> impl Fn(&Value<'_>) -> Read<HeaderName> {
    let own = own.clone();
    text(
        "the name of a header that has no other meaning, which begins with \"X-\" or contains \"Idempoten\", such as \"Idempotent-Replayed\"",
        move |text| {
            let name: HeaderName = text.parse().ok()?;
            let of_nobody = name.as_str().starts_with("x-") || name.as_str().contains("idempoten");
            let taken = HeaderNames::default().is_ours(&name) && name != own
                || TAKEN.contains(&name.as_str())
                || TAKEN_FAMILIES
                    .iter()
                    .any(|family| name.as_str().starts_with(family));
            (of_nobody && !taken).then_some(name)
        },
    )
}

const ANY: HeaderValue = HeaderValue::from_static("*");

/// What the proxy, others on the way, clients or APIs have for another purpose.
const TAKEN: [&str; 26] = [
    "idempotency-key",
    "x-api-key",
    "x-auth-token",
    "x-cache",
    "x-client-ip",
    "x-content-type-options",
    "x-correlation-id",
    "x-csrf-token",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-frame-options",
    "x-http-method-override",
    "x-idempotency-attempt",
    "x-idempotency-key",
    "x-permitted-cross-domain-policies",
    "x-powered-by",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-robots-tag",
    "x-should-retry",
    "x-total-count",
    "x-trace-id",
    "x-ua-compatible",
    "x-xsrf-token",
    "x-xss-protection",
];

const TAKEN_FAMILIES: [&str; 7] = [
    "x-accel-",
    "x-amz",
    "x-b3-",
    "x-envoy-",
    "x-forwarded-",
    "x-rate-limit-",
    "x-ratelimit-",
];
