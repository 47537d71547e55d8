//! What a value may be, in this program's own words.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, Method, Uri};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tracing_subscriber::EnvFilter;

use super::defaults::{HEADER_NAME_MAX, KEYS_MAX};
use super::kind::{Read, Value, Wrong, size, text, wrong};
use crate::idempotency::json::Pointer;
use crate::idempotency::{BadStatuses, BadTemplate, KeyFormat, KeyPattern, Statuses, Template};
use crate::proxy::has_dot_segment;
use crate::proxy::policy::{FingerprintPart, KeySource, ScopePart};
use crate::store::{BadLocation, Location};

/// An address to listen at.
pub(super) fn address(value: &Value<'_>) -> Read<SocketAddr> {
    text(ADDRESS, |text| text.parse().ok())(value)
}

/// An address to listen at, or `off`.
pub(super) fn address_or_off(value: &Value<'_>) -> Read<Option<SocketAddr>> {
    text(format!("{ADDRESS}, or \"off\""), |text| match text {
        "off" => Some(None),
        _ => text.parse().ok().map(Some),
    })(value)
}

const ADDRESS: &str = "an IP address and port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";

/// The scheme and authority of an API, with nothing that forwarding would drop.
pub(super) fn origin(value: &Value<'_>) -> Read<Uri> {
    text(
        "http:// or https:// with a host and no more than a port, such as \"http://127.0.0.1:3000\"",
        |text| {
            let parts = text.parse::<Uri>().ok()?.into_parts();
            let scheme = parts
                .scheme
                .filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme))?;
            let authority = parts.authority.filter(names_a_host)?;
            let bare = parts.path_and_query.is_none_or(|path| path == "/");
            let mut origin = http::uri::Parts::default();
            origin.scheme = Some(scheme);
            origin.authority = Some(authority);
            origin.path_and_query = Some(PathAndQuery::from_static("/"));
            // The URI type drops a fragment without a word.
            Uri::from_parts(origin)
                .ok()
                .filter(|_| bare && !text.contains('#'))
        },
    )(value)
}

fn names_a_host(authority: &Authority) -> bool {
    let host = authority.host();
    let port = match authority.port_u16() {
        Some(port) => port > 0 && authority.as_str().len() > host.len() + 1,
        None => authority.as_str().len() == host.len(),
    };
    !host.is_empty() && port && !authority.as_str().contains('@')
}

/// Which store.
pub(super) fn location(value: &Value<'_>) -> Read<Location> {
    text(BadLocation::FORMS, |text| text.parse().ok())(value)
}

/// The first part of Redis keys: nothing that patterns, hash tags or people could misread.
pub(super) fn prefix(value: &Value<'_>) -> Read<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    text("1 to 64 letters, digits and any of . _ : -", |text| {
        ((1..=64).contains(&text.len()) && text.chars().all(allowed)).then(|| text.to_owned())
    })(value)
}

/// A name for logs, metrics and record ids.
pub(super) fn name(value: &Value<'_>) -> Read<String> {
    text("a name of 1 to 100 printable characters", |text| {
        let printable = text.chars().all(|c| !c.is_control());
        let fits = (1..=100).contains(&text.chars().count());
        (fits && printable && text.trim() == text).then(|| text.to_owned())
    })(value)
}

/// The path of a file, relative to the working directory.
pub(super) fn file(value: &Value<'_>) -> Read<PathBuf> {
    text("the path of a file", |text| {
        (!text.is_empty()).then(|| PathBuf::from(text))
    })(value)
}

/// A host's name, without a port.
pub(super) fn host_name(value: &Value<'_>) -> Read<String> {
    text(
        "the name of a host without a port, such as \"idemproxy.internal\"",
        |text| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let named = (1..=253).contains(&text.len()) && text.bytes().all(fits);
            named.then(|| text.to_ascii_lowercase())
        },
    )(value)
}

/// The content of a file, of which no more than its name is ever shown.
pub(super) fn content(value: &Value<'_>) -> Read<Vec<u8>> {
    let path = file(value)?;
    let read = || {
        let file = File::open(&path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        file.take(KEYS_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > KEYS_MAX {
            return Err(std::io::Error::other("it is too large"));
        }
        Ok(bytes)
    };
    read().or_else(|error| wrong(value, format!("a file that can be read: {error}")))
}

/// Networks whose peers are trusted; a word may stand for several.
pub(super) fn networks(value: &Value<'_>) -> Read<Vec<IpNet>> {
    text(
        "\"loopback\", \"private\", an IP address or a network such as \"10.0.0.0/8\"",
        |text| match text {
            "loopback" => Some(LOOPBACK_NETS.to_vec()),
            "private" => Some(PRIVATE_NETS.to_vec()),
            _ => {
                let address = text.parse::<IpAddr>().map(IpNet::from);
                address.or_else(|_| text.parse()).ok().map(|net| vec![net])
            }
        },
    )(value)
}

/// What `loopback` stands for.
pub(super) const LOOPBACK_NETS: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];
/// What `private` stands for: RFC 1918 and RFC 4193.
pub(super) const PRIVATE_NETS: [IpNet; 4] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
    )),
];

/// A request method. They are case-sensitive, so `post` would cover nothing.
pub(super) fn method(value: &Value<'_>) -> Read<Method> {
    text("a request method in capitals, such as \"POST\"", |text| {
        let capitals = !text.bytes().any(|b| b.is_ascii_lowercase());
        let method = Method::from_bytes(text.as_bytes()).ok()?;
        (capitals && method != Method::CONNECT).then_some(method)
    })(value)
}

/// Where a key comes from.
pub(super) fn key_source(value: &Value<'_>) -> Read<KeySource> {
    text(
        "a source of keys: \"header:NAME\", \"query:NAME\", \"cookie:NAME\", \"json:/pointer\" or \"content\"",
        |text| match text.split_once(':') {
            None => (text == "content").then_some(KeySource::Content),
            Some(("header", _)) => header(text).map(KeySource::Header),
            Some(("query", name)) => {
                let named = !name.is_empty() && !name.chars().any(char::is_control);
                named.then(|| KeySource::Query(name.to_owned()))
            }
            Some(("cookie", name)) => cookie(name).map(KeySource::Cookie),
            Some(("json", place)) => inner(place).map(KeySource::Json),
            Some(_) => None,
        },
    )(value)
}

/// What a key has to look like.
pub(super) fn key_format(value: &Value<'_>) -> Read<KeyFormat> {
    let pattern = value
        .get_ref()
        .as_str()
        .and_then(|text| text.strip_prefix("regex:"));
    if let Some(pattern) = pattern {
        return match KeyPattern::new(pattern) {
            Ok(pattern) => Ok(KeyFormat::Pattern(pattern)),
            Err(error) => wrong(
                value,
                format!("a regular expression after regex: ({error})"),
            ),
        };
    }
    text(
        "\"any\", \"uuid\", \"uuid4\", \"uuid7\" or \"regex:PATTERN\"",
        |text| match text {
            "any" => Some(KeyFormat::Any),
            "uuid" => Some(KeyFormat::Uuid),
            "uuid4" => Some(KeyFormat::Uuid4),
            "uuid7" => Some(KeyFormat::Uuid7),
            _ => None,
        },
    )(value)
}

/// A place within a JSON body.
pub(super) fn pointer(value: &Value<'_>) -> Read<Pointer> {
    text("a JSON pointer, such as \"/sent_at\"", inner)(value)
}

/// A pointer to something within, and not to the whole.
fn inner(text: &str) -> Option<Pointer> {
    let pointer: Pointer = text.parse().ok()?;
    (!pointer.tokens().is_empty()).then_some(pointer)
}

/// A part of the scope.
pub(super) fn scope_part(value: &Value<'_>) -> Read<ScopePart> {
    text(
        "a part of the scope: \"method\", \"path\", \"caller\", \"query\", \"header:NAME\", \"cookie:NAME\", \"jwt:CLAIM\" or \"client-ip\"",
        |text| match text.split_once(':') {
            None => match text {
                "method" => Some(ScopePart::Method),
                "path" => Some(ScopePart::Path),
                "caller" => Some(ScopePart::Caller),
                "query" => Some(ScopePart::Query),
                "client-ip" => Some(ScopePart::ClientIp),
                _ => None,
            },
            Some(("header", _)) => header(text)
                .filter(|name| !WRITTEN_ANEW.contains(&name.as_str()))
                .map(ScopePart::Header),
            Some(("cookie", name)) => cookie(name).map(ScopePart::Cookie),
            Some(("jwt", claim)) => {
                let named = !claim.is_empty() && !claim.chars().any(char::is_control);
                named.then(|| ScopePart::Jwt(claim.to_owned()))
            }
            Some(_) => None,
        },
    )(value)
}

/// Headers that are not forwarded as they came, or that HTTP/2 cuts in pieces: as a part of the scope they would name something
/// else than the API sees.
const WRITTEN_ANEW: [&str; 7] = [
    "cookie",
    "expect",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// The name of a cookie: a token, as the name of a header is (RFC 6265, section 4.1.1).
fn cookie(name: &str) -> Option<String> {
    let token = HeaderName::from_bytes(name.as_bytes()).is_ok();
    token.then(|| name.to_owned())
}

/// A part of the fingerprint, with a name that fits into a record.
pub(super) fn fingerprint_part(value: &Value<'_>) -> Read<FingerprintPart> {
    let part = text(
        "\"method\", \"path\", \"query\", \"body\", \"json-body\" or \"header:NAME\"",
        |text| match text {
            "method" => Some(FingerprintPart::Method),
            "path" => Some(FingerprintPart::Path),
            "query" => Some(FingerprintPart::Query),
            "body" => Some(FingerprintPart::Body),
            "json-body" => Some(FingerprintPart::JsonBody),
            _ => header(text).map(FingerprintPart::Header),
        },
    )(value)?;
    match &part {
        FingerprintPart::Header(name) if name.as_str().len() > HEADER_NAME_MAX => wrong(
            value,
            format!("a header name of at most {HEADER_NAME_MAX} characters"),
        ),
        _ => Ok(part),
    }
}

/// `header:NAME`, of a header that goes from end to end.
fn header(text: &str) -> Option<HeaderName> {
    let name: HeaderName = text.strip_prefix("header:")?.parse().ok()?;
    (!HOP_BY_HOP.contains(&name.as_str())).then_some(name)
}

/// RFC 9110, section 7.6.1, and what frames a message.
pub(super) const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A route's path pattern. Paths are matched as they are sent, so a pattern with a query or a character that is always
/// percent-encoded would never match.
///
/// Nor is one with dot segments ever executed: what is keyed and has them is refused.
pub(super) fn pattern(value: &Value<'_>) -> Read<String> {
    if value.get_ref().as_str().is_some_and(has_dot_segment) {
        return wrong(
            value,
            "a path without dot segments: requests for it are refused",
        );
    }
    text(
        "a path such as \"/orders/{id}\", percent-encoded and without a query",
        |text| {
            let sendable = |b: u8| b.is_ascii_graphic() && !b"?#\"<>\\^`|".contains(&b);
            (text.starts_with('/') && text.bytes().all(sendable)).then(|| text.to_owned())
        },
    )(value)
}

/// Why a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryOn {
    /// It was provably not sent.
    Connect,
    /// The upstream said that it did not carry it out.
    Status(u16),
}

/// `connect`, or a status that says that nothing was done.
pub(super) fn retry_on(value: &Value<'_>) -> Read<RetryOn> {
    text(
        "\"connect\" or a status from \"400\" to \"599\"",
        |text| match text {
            "connect" => Some(RetryOn::Connect),
            _ => {
                let plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
                let status = text.parse().ok();
                status
                    .filter(|status| plain && (400..=599).contains(status))
                    .map(RetryOn::Status)
            }
        },
    )(value)
}

/// Statuses of answers.
pub(super) fn statuses(value: &Value<'_>) -> Read<Statuses> {
    parsed::<_, BadStatuses>(value)
}

/// Statuses by which an API says that there is nothing: none that says "there it is", "elsewhere", "not you", "not now" or "I cannot".
pub(super) fn absent_statuses(value: &Value<'_>) -> Read<Statuses> {
    let statuses = statuses(value)?;
    let classes = [2, 3, 5].map(Statuses::class);
    let others = [401, 403, 407, 408, 425, 429].map(Statuses::one);
    if classes
        .iter()
        .chain(&others)
        .any(|other| statuses.meets(*other))
    {
        return wrong(
            value,
            "statuses that say that there is nothing, such as \"404\", and none of 2xx, 3xx, 401, 403, 407, 408, 425, 429 and 5xx",
        );
    }
    Ok(statuses)
}

/// Statuses of success.
pub(super) fn successful(value: &Value<'_>) -> Read<Statuses> {
    match statuses(value)? {
        some if some.are_within(Statuses::SUCCESSFUL) => Ok(some),
        _ => wrong(
            value,
            "statuses within 2xx: others say nothing good of credentials",
        ),
    }
}

/// Where on the upstream something is asked.
pub(super) fn template(value: &Value<'_>) -> Read<Template> {
    parsed::<_, BadTemplate>(value)
}

/// What a string says, or what its error says was expected.
fn parsed<T: FromStr<Err = E>, E: Display>(value: &Value<'_>) -> Read<T> {
    let written = value.get_ref().as_str();
    written.unwrap_or_default().parse().map_err(|error: E| {
        vec![Wrong {
            span: value.span(),
            text: written.map(str::to_owned),
            expected: error.to_string(),
        }]
    })
}

/// A size, or `none`.
pub(super) fn size_or_none(value: &Value<'_>) -> Read<Option<u64>> {
    match value.get_ref().as_str() {
        Some("none") => Ok(None),
        _ => size(0..=u64::MAX)(value)
            .map(Some)
            .or_else(|_| wrong(value, "\"none\", or a size in bytes such as \"10MiB\"")),
    }
}

/// A log filter.
pub(super) fn log_filter(value: &Value<'_>) -> Read<String> {
    text(
        "a log filter such as \"info\" or \"warn,idemproxy=debug\"",
        |text| {
            let parsed = EnvFilter::try_new(text).is_ok();
            (parsed && !text.is_empty()).then(|| text.to_owned())
        },
    )(value)
}
