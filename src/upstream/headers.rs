//! What a proxy takes off a message and puts on it (RFC 9110, section 7.6; RFC 7239; W3C Trace Context).
//!
//! `Proxy-Authorization`, `Proxy-Authenticate` and `Trailer` pass, as with nginx and Envoy: nobody logs in to this proxy, and the
//! trailers themselves are passed on.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE,
    VIA,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, request};

/// What the proxy knows of the client's side when it passes a request on.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    /// The address of the peer of the client's connection, if it is known.
    pub peer: Option<&'a HeaderValue>,
    /// Whether what the peer says in `X-Forwarded-*` and `Forwarded` is believed.
    pub peer_is_trusted: bool,
    /// `http` or `https`: what the client spoke to us.
    pub scheme: &'static str,
    /// Whether the upstream sees the `Host` the client sent.
    pub preserve_host: bool,
    /// [`Upstream::authority`](super::Upstream::authority): the `Host` otherwise.
    pub upstream_authority: Option<&'a HeaderValue>,
}

/// Makes a received request one for the upstream: origin-form target, one `Host`, no hop-by-hop headers, no `Expect`
/// (answered here), cookies of HTTP/2 in one line, `Via`, `X-Forwarded-*`, no malformed trace context. An upgrade is taken off too:
/// [`is_upgrade`] before, [`set_upgrade`] after.
pub fn prepare_request(parts: &mut request::Parts, context: &ForwardContext<'_>) {
    let present = Present::among(&parts.headers);
    let received_host = received_host(parts);
    let headers = &mut parts.headers;
    if present.hop_by_hop {
        strip_hop_by_hop(headers);
    }
    if present.expect {
        headers.remove(EXPECT);
    }
    if parts.version == Version::HTTP_2 {
        join(headers, COOKIE, b"; ", None);
    }
    if present.trace {
        drop_malformed_trace(headers);
    }
    if present.forwarded && !context.peer_is_trusted {
        for name in [
            FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
        ] {
            headers.remove(name);
        }
    }
    let anew = !present.forwarded || !context.peer_is_trusted;
    forwarded(headers, context, received_host.as_ref(), anew);
    let via = match parts.version {
        Version::HTTP_2 => "2.0 idemproxy",
        Version::HTTP_10 => "1.0 idemproxy",
        _ => "1.1 idemproxy",
    };
    headers.append(VIA, HeaderValue::from_static(via));
    let host = received_host.filter(|_| context.preserve_host);
    match host.or_else(|| context.upstream_authority.cloned()) {
        Some(host) => drop(headers.insert(HOST, host)),
        None => drop(headers.remove(HOST)),
    }
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(target);
}

/// Makes an upstream's answer one for the client: takes the hop-by-hop headers off, and leaves of `Content-Length` one number
/// (RFC 9110, section 8.6), or none where `Transfer-Encoding` overrode it (RFC 9112, section 6.3).
pub fn prepare_response(headers: &mut HeaderMap) {
    let overridden = headers.contains_key(TRANSFER_ENCODING);
    if overridden || plain_length(headers).is_none() {
        match one_length(headers).filter(|_| !overridden) {
            Some(length) => set_length(headers, length),
            None => drop(headers.remove(CONTENT_LENGTH)),
        };
    }
    strip_hop_by_hop(headers);
}

/// Has `Content-Length` say this. Mostly it does.
pub(super) fn set_length(headers: &mut HeaderMap, length: u64) {
    if plain_length(headers) != Some(length) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}

/// Removes `Connection`, every field it names, and the fields that are hop-by-hop by themselves. `TE: trailers` alone
/// survives, since trailers are passed on.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let takes_trailers = list(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    let named: Vec<HeaderName> = list(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    for name in named.iter().map(HeaderName::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The protocols a message wants to switch to, or has switched to: `Connection: upgrade` with `Upgrade`. Another version of
/// HTTP is never one: inside it, requests would pass this proxy unseen.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers
        .get(UPGRADE)
        .filter(|_| names_option(headers, "upgrade"))?;
    let is_http = |protocol: &str| {
        let protocol = protocol.to_ascii_lowercase();
        ["h2c", "h2", "http", "tls"].contains(&protocol.split('/').next().unwrap_or(""))
    };
    (headers.get_all(UPGRADE).iter().count() == 1 && !list(headers, &UPGRADE).any(is_http))
        .then(|| offered.clone())
}

/// Puts an upgrade back on a message whose hop-by-hop headers were taken off.
pub fn set_upgrade(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocols);
}

/// Whether `Connection` holds this option.
pub(super) fn names_option(headers: &HeaderMap, option: &str) -> bool {
    list(headers, &CONNECTION).any(|named| named.eq_ignore_ascii_case(option))
}

/// The elements of a comma-separated header, over all its lines. What is no text counts as its readable elements.
pub(super) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|element| std::str::from_utf8(element).ok())
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

/// The number that `Content-Length` is, where it is one line of digits and begins with none too many.
fn plain_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) if !line.as_bytes().starts_with(b"0") => digits(line.as_bytes()),
        _ => None,
    }
}

/// The number that every element of `Content-Length` is.
fn one_length(headers: &HeaderMap) -> Option<u64> {
    let elements = list(headers, &CONTENT_LENGTH);
    let mut lengths = elements.map(|element| digits(element.as_bytes()));
    let first = lengths.next()??;
    lengths.all(|other| other == Some(first)).then_some(first)
}

/// A number without a sign.
fn digits(text: &[u8]) -> Option<u64> {
    let number = text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|_| !text.is_empty())
}

/// The authority the client asked for: of an absolute target, else `Host` (RFC 9112, 3.2.2).
fn received_host(parts: &request::Parts) -> Option<HeaderValue> {
    let Some(authority) = parts.uri.authority() else {
        return parts.headers.get(HOST).cloned();
    };
    HeaderValue::from_str(authority.as_str().rsplit('@').next()?).ok()
}

/// Tells the upstream whom this proxy works for: `anew` where nothing is said of it so far. What a trusted peer said is kept and added to.
fn forwarded(
    headers: &mut HeaderMap,
    context: &ForwardContext<'_>,
    received_host: Option<&HeaderValue>,
    anew: bool,
) {
    match context.peer {
        Some(peer) if anew || !headers.contains_key(&X_FORWARDED_FOR) => {
            headers.insert(X_FORWARDED_FOR, peer.clone());
        }
        peer => join(
            headers,
            X_FORWARDED_FOR,
            b", ",
            peer.map(HeaderValue::as_bytes),
        ),
    }
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(context.scheme));
    if let Some(host) = received_host {
        headers
            .entry(X_FORWARDED_HOST)
            .or_insert_with(|| host.clone());
    }
}

/// Makes the lines of a header one, with `last` at its end.
fn join(headers: &mut HeaderMap, name: HeaderName, separator: &[u8], last: Option<&[u8]>) {
    let lines = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .chain(last);
    let joined = lines.collect::<Vec<_>>().join(separator);
    if joined.is_empty() {
        return;
    }
    if let Ok(mut value) = HeaderValue::from_bytes(&joined) {
        value.set_sensitive(headers.get_all(&name).iter().any(HeaderValue::is_sensitive));
        headers.insert(name, value);
    }
}

/// Which of the fields that are dealt with a head has. Most heads have none of them, and to look for each would take more than to go
/// over all of them once.
#[derive(Default)]
struct Present {
    hop_by_hop: bool,
    expect: bool,
    trace: bool,
    forwarded: bool,
}

impl Present {
    fn among(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "expect" => present.expect = true,
                "traceparent" => present.trace = true,
                "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" => {
                    present.forwarded = true;
                }
                _ => present.hop_by_hop |= is_hop_by_hop(name),
            }
        }
        present
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// Trace context that cannot be read is not passed on, and none is invented.
fn drop_malformed_trace(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(&TRACEPARENT).iter();
    let well_formed = match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(line), None) => is_traceparent(line.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    if !well_formed {
        headers.remove(&TRACEPARENT);
        headers.remove(&TRACESTATE);
    }
}

/// The trace that a request belongs to, as its client says, in hex.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(&TRACEPARENT).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) if is_traceparent(line.as_bytes()) => line.to_str().ok()?.get(3..35),
        _ => None,
    }
}

/// `version-trace_id-parent_id-flags`; a version after 00 may add to it.
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |part: &[u8], length| {
        part.len() == length
            && part
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&[u8]> = value.splitn(5, |byte| *byte == b'-').collect();
    let [version, trace_id, parent_id, flags, rest @ ..] = parts.as_slice() else {
        return false;
    };
    hex(version, 2)
        && *version != b"ff"
        && (rest.is_empty() || *version != b"00")
        && hex(trace_id, 32)
        && hex(parent_id, 16)
        && hex(flags, 2)
        && [trace_id, parent_id]
            .iter()
            .all(|id| id.iter().any(|digit| *digit != b'0'))
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Request;

    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    static PEER: HeaderValue = HeaderValue::from_static("192.0.2.7");
    static AUTHORITY: HeaderValue = HeaderValue::from_static("api.internal:3000");

    fn context() -> ForwardContext<'static> {
        ForwardContext {
            peer: Some(&PEER),
            peer_is_trusted: false,
            scheme: "https",
            preserve_host: true,
            upstream_authority: Some(&AUTHORITY),
        }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn prepared(
        version: Version,
        uri: &str,
        lines: &[(&'static str, &str)],
        context: &ForwardContext<'_>,
    ) -> request::Parts {
        let (mut parts, ()) = Request::builder()
            .version(version)
            .uri(uri)
            .body(())
            .unwrap()
            .into_parts();
        parts.headers = headers(lines);
        prepare_request(&mut parts, context);
        parts
    }

    fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    #[test]
    fn hop_by_hop_headers_and_what_connection_names_are_taken_off() {
        let mut headers = headers(&[
            ("connection", "X-One , close"),
            ("connection", ",x-two,bad name,"),
            ("x-one", "1"),
            ("x-one", "1b"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("trailer", "x-sum"),
            ("proxy-authorization", "Basic eA=="),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["proxy-authorization", "trailer", "x-three"]);
    }

    #[test]
    fn a_length_beside_chunked_is_not_passed_on() {
        let mut both = headers(&[("content-length", "99"), ("transfer-encoding", "chunked")]);
        prepare_response(&mut both);
        assert!(both.is_empty());
    }

    #[test]
    fn of_a_length_one_number_is_passed_on() {
        for (lines, left) in [
            (&["5"][..], &["5"][..]),
            (&["005"], &["5"]),
            (&["5, 5"], &["5"]),
            (&["5", "5"], &["5"]),
            (&["5, 6"], &[]),
            (&["+5"], &[]),
            (&[""], &[]),
        ] {
            let mut answer = HeaderMap::new();
            for line in lines {
                answer.append(CONTENT_LENGTH, line.parse().unwrap());
            }
            prepare_response(&mut answer);
            assert_eq!(values(&answer, "content-length"), left, "{lines:?}");
        }
    }

    #[test]
    fn te_trailers_survives_alone() {
        let mut headers = headers(&[("connection", "te"), ("te", "gzip;q=0.5, Trailers")]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(values(&headers, "te"), ["trailers"]);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn an_option_is_named_in_any_case_and_any_line() {
        let headers = headers(&[
            ("connection", "close"),
            ("connection", "foo,\tIDEMPOTENCY-Key "),
        ]);
        assert!(names_option(&headers, "idempotency-key"));
        assert!(names_option(&headers, "foo"));
        assert!(!names_option(&headers, "idempotency"));
    }

    #[test]
    fn a_readable_name_beside_unreadable_bytes_is_still_named() {
        let mut headers = HeaderMap::new();
        headers.append(
            CONNECTION,
            HeaderValue::from_bytes(b"\xff, authorization").unwrap(),
        );
        assert!(names_option(&headers, "authorization"));
    }

    #[test]
    fn a_websocket_is_an_upgrade_and_another_http_is_not() {
        let websocket = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(is_upgrade(&websocket).unwrap(), "websocket");
        assert!(is_upgrade(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(is_upgrade(&headers(&[("connection", "upgrade")])).is_none());
        for other in ["h2c", "websocket, H2C", "HTTP/2.0", "TLS/1.0", "http/1.1"] {
            assert!(
                is_upgrade(&headers(&[("connection", "upgrade"), ("upgrade", other)])).is_none(),
                "{other}"
            );
        }
        let mut stripped = websocket;
        let protocols = is_upgrade(&stripped).unwrap();
        strip_hop_by_hop(&mut stripped);
        assert!(stripped.is_empty());
        set_upgrade(&mut stripped, protocols);
        assert_eq!(is_upgrade(&stripped).unwrap(), "websocket");
    }

    #[test]
    fn an_unknown_peers_forwarding_headers_are_overwritten() {
        let lines = [
            ("host", "shop.example"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "evil.example"),
        ];
        let parts = prepared(Version::HTTP_11, "/", &lines, &context());
        assert!(!parts.headers.contains_key("forwarded"));
        assert_eq!(values(&parts.headers, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(values(&parts.headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&parts.headers, "x-forwarded-host"), ["shop.example"]);
    }

    #[test]
    fn a_trusted_peers_forwarding_headers_are_kept_and_added_to() {
        let lines = [
            ("host", "inner.example"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example"),
        ];
        let trusted = ForwardContext {
            peer_is_trusted: true,
            ..context()
        };
        let parts = prepared(Version::HTTP_11, "/", &lines, &trusted);
        assert_eq!(values(&parts.headers, "forwarded"), ["for=10.0.0.1"]);
        assert_eq!(
            values(&parts.headers, "x-forwarded-for"),
            ["10.0.0.1, 10.0.0.2, 192.0.2.7"]
        );
        assert_eq!(values(&parts.headers, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&parts.headers, "x-forwarded-host"), ["shop.example"]);

        let silent = prepared(Version::HTTP_11, "/", &[("host", "a.example")], &trusted);
        assert_eq!(values(&silent.headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&silent.headers, "x-forwarded-host"), ["a.example"]);
    }

    #[test]
    fn a_client_cannot_have_connection_take_our_headers_off() {
        let lines = [
            ("host", "a.example"),
            (
                "connection",
                "host, x-forwarded-for, via, x-forwarded-proto",
            ),
        ];
        let parts = prepared(Version::HTTP_11, "/", &lines, &context());
        assert_eq!(values(&parts.headers, "host"), ["a.example"]);
        assert_eq!(values(&parts.headers, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(values(&parts.headers, "via"), ["1.1 idemproxy"]);
    }

    #[test]
    fn the_host_is_the_clients_or_the_upstreams() {
        let lines = [("host", "shop.example"), ("host", "second.example")];
        let kept = prepared(Version::HTTP_11, "/", &lines, &context());
        assert_eq!(values(&kept.headers, "host"), ["shop.example"]);
        let own = ForwardContext {
            preserve_host: false,
            ..context()
        };
        let replaced = prepared(Version::HTTP_11, "/", &lines, &own);
        assert_eq!(values(&replaced.headers, "host"), ["api.internal:3000"]);
        assert_eq!(
            values(&replaced.headers, "x-forwarded-host"),
            ["shop.example"]
        );
        let nameless = prepared(Version::HTTP_10, "/", &[], &context());
        assert_eq!(values(&nameless.headers, "host"), ["api.internal:3000"]);
        assert_eq!(values(&nameless.headers, "via"), ["1.0 idemproxy"]);
    }

    #[test]
    fn an_absolute_target_becomes_origin_form_and_its_authority_the_host() {
        let lines = [("host", "other.example")];
        let parts = prepared(
            Version::HTTP_11,
            "http://u:p@shop.example:81/a?b=c",
            &lines,
            &context(),
        );
        assert_eq!(parts.uri, "/a?b=c");
        assert_eq!(values(&parts.headers, "host"), ["shop.example:81"]);
        assert_eq!(prepared(Version::HTTP_11, "*", &lines, &context()).uri, "*");
        assert_eq!(
            prepared(Version::HTTP_11, "//x/../y", &lines, &context())
                .uri
                .to_string(),
            "//x/../y"
        );
    }

    #[test]
    fn cookies_of_http2_come_in_one_line_and_those_of_http1_as_they_were() {
        let lines = [("cookie", "a=1"), ("cookie", "b=2; c=3")];
        let h2 = prepared(Version::HTTP_2, "https://shop.example/", &lines, &context());
        assert_eq!(values(&h2.headers, "cookie"), ["a=1; b=2; c=3"]);
        assert_eq!(values(&h2.headers, "via"), ["2.0 idemproxy"]);
        assert_eq!(values(&h2.headers, "host"), ["shop.example"]);
        let h1 = prepared(Version::HTTP_11, "/", &lines, &context());
        assert_eq!(values(&h1.headers, "cookie"), ["a=1", "b=2; c=3"]);
    }

    #[test]
    fn via_is_added_to_and_expect_is_not_passed_on() {
        let lines = [
            ("via", "1.0 first"),
            ("expect", "100-continue"),
            ("idempotency-key", "\"k\""),
        ];
        let parts = prepared(Version::HTTP_11, "/", &lines, &context());
        assert_eq!(
            values(&parts.headers, "via"),
            ["1.0 first", "1.1 idemproxy"]
        );
        assert!(!parts.headers.contains_key("expect"));
        assert_eq!(values(&parts.headers, "idempotency-key"), ["\"k\""]);
    }

    #[test]
    fn a_good_trace_context_passes_and_a_bad_one_is_dropped() {
        let state = ("tracestate", "vendor=1");
        let good = prepared(
            Version::HTTP_11,
            "/",
            &[("traceparent", TRACE), state],
            &context(),
        );
        assert_eq!(values(&good.headers, "traceparent"), [TRACE]);
        assert_eq!(values(&good.headers, "tracestate"), ["vendor=1"]);
        let newer = format!("cc{}-more-to-come", &TRACE[2..]);
        let newer = prepared(
            Version::HTTP_11,
            "/",
            &[("traceparent", &newer)],
            &context(),
        );
        assert!(newer.headers.contains_key("traceparent"));

        let bad = [
            "",
            "00",
            &TRACE.to_uppercase(),
            &format!("ff{}", &TRACE[2..]),
            &format!("{TRACE}-more"),
            &format!("{TRACE}-"),
            &TRACE.replace("b7ad6b7169203331", "0000000000000000"),
            &TRACE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &TRACE[..TRACE.len() - 1],
        ];
        for value in bad {
            let parts = prepared(
                Version::HTTP_11,
                "/",
                &[("traceparent", value), state],
                &context(),
            );
            assert!(!parts.headers.contains_key("traceparent"), "{value}");
            assert!(!parts.headers.contains_key("tracestate"), "{value}");
        }
        let twice = prepared(
            Version::HTTP_11,
            "/",
            &[("traceparent", TRACE), ("traceparent", TRACE), state],
            &context(),
        );
        assert!(!twice.headers.contains_key("traceparent"));
        assert!(
            !prepared(Version::HTTP_11, "/", &[], &context())
                .headers
                .contains_key("traceparent")
        );
    }

    #[test]
    fn an_answer_keeps_all_that_is_not_hop_by_hop() {
        let mut headers = headers(&[
            ("connection", "keep-alive, x-hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("date", "Fri, 20 Nov 2026 00:00:00 GMT"),
            ("content-length", "3"),
        ]);
        prepare_response(&mut headers);
        assert_eq!(values(&headers, "set-cookie"), ["a=1", "b=2"]);
        assert_eq!(headers.len(), 4);
    }
}
