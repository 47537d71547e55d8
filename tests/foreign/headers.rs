//! The head of a request, and of an answer.

use std::sync::LazyLock;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use idemproxy::config::{Overrides, from_toml};
use idemproxy::downstream::{ServerSettings, check, normalise};
use idemproxy::upstream::headers::{ForwardContext, prepare_request, prepare_response};

/// `METHOD TARGET VERSION`, then `NAME: VALUE` lines. What is let in has one host and one target; what is passed on holds no
/// hop-by-hop header, and of a stranger's `X-Forwarded-*` nothing.
pub(crate) fn holds(input: &[u8]) {
    let Some(head) = head(input) else { return };
    let mut answer = head.headers.clone();
    prepare_response(&mut answer);
    is_end_to_end(&head.headers, &answer, &[]);
    keeps_the_rest(&head.headers, &answer, &["content-length"]);
    let lengths = values(&answer, "content-length");
    assert!(lengths.len() <= usize::from(!head.headers.contains_key("transfer-encoding")));
    assert!(lengths.concat().iter().all(u8::is_ascii_digit));

    forwards(&head);
    if check(&head, &SETTINGS).is_ok() {
        let mut normal = head.clone();
        normalise(&mut normal);
        assert!(normal.uri.authority().is_none() && normal.uri.scheme().is_none());
        assert!(normal.headers.get_all("host").iter().count() <= 1);
        assert_eq!(check(&normal, &SETTINGS), Ok(()));
        forwards(&normal);
    }
}

fn forwards(head: &Parts) {
    for (peer_is_trusted, preserve_host) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let context = ForwardContext {
            peer: Some(&HeaderValue::from_static(PEER)),
            peer_is_trusted,
            scheme: "https",
            preserve_host,
            upstream_authority: Some(&HeaderValue::from_static("api:3000")),
        };
        let mut sent = head.clone();
        prepare_request(&mut sent, &context);
        is_end_to_end(&head.headers, &sent.headers, &OURS);
        keeps_the_rest(&head.headers, &sent.headers, &REWRITTEN);
        assert!(sent.uri.authority().is_none() && sent.uri.scheme().is_none());
        assert!(sent.headers.get_all("host").iter().count() <= 1 || head.uri.authority().is_none());
        assert!(!sent.headers.contains_key("expect"));
        let via = sent.headers.get_all("via").iter().next_back().unwrap();
        assert!(via.as_bytes().ends_with(b" idemproxy"));

        let peers = values(&sent.headers, "x-forwarded-for");
        assert_eq!(peers.len(), 1);
        assert!(peers[0].ends_with(PEER.as_bytes()));
        if !peer_is_trusted {
            assert_eq!(peers, [PEER.as_bytes()]);
            assert_eq!(values(&sent.headers, "x-forwarded-proto"), [b"https"]);
            assert!(values(&sent.headers, "x-forwarded-host").len() <= 1);
            assert!(!sent.headers.contains_key("forwarded"));
        }
    }
}

/// Nothing that ends at this hop is left, by itself or by name, and all that is left can be sent.
fn is_end_to_end(before: &HeaderMap, after: &HeaderMap, ours: &[&str]) {
    let named = named_by_connection(before);
    for (name, value) in after {
        assert!(HeaderValue::from_bytes(value.as_bytes()).is_ok());
        if name == "te" {
            assert_eq!(values(after, "te"), [b"trailers"]);
        } else if !ours.contains(&name.as_str()) {
            assert!(!HOP_BY_HOP.contains(&name.as_str()), "{name} is left");
            assert!(
                !named.contains(name),
                "{name} is named by Connection, and left"
            );
        }
    }
}

/// What goes from end to end goes there unchanged, in its order.
fn keeps_the_rest(before: &HeaderMap, after: &HeaderMap, rewritten: &[&str]) {
    let named = named_by_connection(before);
    for name in before.keys() {
        let ends_here = HOP_BY_HOP.contains(&name.as_str()) || named.contains(name);
        if !ends_here && !rewritten.contains(&name.as_str()) {
            assert_eq!(values(before, name.as_str()), values(after, name.as_str()));
        }
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = values(headers, "connection");
    let options = lines
        .iter()
        .flat_map(|line| line.split(|byte| *byte == b','));
    options
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .collect()
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect()
}

fn head(input: &[u8]) -> Option<Parts> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
    let mut head = Request::new(()).into_parts().0;
    head.method = Method::from_bytes(words.next()?).ok()?;
    head.uri = Uri::try_from(words.next()?).ok()?;
    head.version = match words.next()? {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/2.0" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            head.headers.try_append(name, value).ok()?;
        }
    }
    Some(head)
}

/// The defaults.
static SETTINGS: LazyLock<ServerSettings> = LazyLock::new(|| {
    let text = "upstream = \"http://127.0.0.1:3000\"";
    let settings = from_toml("", text, &Overrides::default()).unwrap();
    settings.server
});

const PEER: &str = "192.0.2.7";

const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What the proxy says itself, whatever a client names.
const OURS: [&str; 5] = [
    "host",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

const REWRITTEN: [&str; 10] = [
    "cookie",
    "expect",
    "forwarded",
    "host",
    "traceparent",
    "tracestate",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
