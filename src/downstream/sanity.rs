//! Refuses requests that two readers could read in two ways, before anybody acts on them.
//!
//! hyper has parsed the request by now, and settled for itself what it could: a `Content-Length` beside `chunked` is
//! dropped, a fragment is cut off the target, equal lengths are made one (`head` sees them before). What it passes on
//! unsettled is decided here.

use std::net::Ipv6Addr;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version};

use super::ServerSettings;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// HTTP/1.1 without `Host`, HTTP/2 without `:authority` and `Host`.
    #[error("the request has no Host")]
    HostMissing,
    /// RFC 9112, 3.2: exactly one.
    #[error("the request has more than one Host")]
    HostRepeated,
    /// Not a name or an address with an optional port.
    #[error("the Host is malformed")]
    HostMalformed,
    /// HTTP/2: `Host` and `:authority` name different hosts.
    #[error("the Host differs from the authority")]
    HostContradicted,
    /// Anything but one `Transfer-Encoding: chunked`.
    #[error("the Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// Repeated, not a number, or beside `Transfer-Encoding`.
    #[error("the Content-Length is malformed or contradicted")]
    ContentLength,
    /// This is no forward proxy.
    #[error("CONNECT is not supported")]
    Connect,
    /// `*` with a method other than OPTIONS, an odd scheme, user information, control or non-ASCII bytes.
    #[error("the request target is malformed")]
    Target,
    /// Names, values and target are over `max_header_bytes`.
    #[error("the request head is too large")]
    HeadTooLarge,
}

/// Whether the request can be read in one way only, and is small enough.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn check(head: &Parts, settings: &ServerSettings) -> Result<(), BadRequest> {
    if head_size(head) > settings.max_header_bytes {
        return Err(BadRequest::HeadTooLarge);
    }
    check_target(head)?;
    check_host(head)?;
    check_framing(head)
}

/// Makes the target origin-form (or `*`) and the authority the one `Host`, RFC 9112, 3.2.2. For heads that passed [`check`].
pub fn normalise(head: &mut Parts) {
    let Some(authority) = head.uri.authority() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        head.headers.insert(HOST, host);
    }
    let target = head
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from(target);
}

/// Names, values and target; not the separators, which differ between versions.
fn head_size(head: &Parts) -> usize {
    let target = head
        .uri
        .path_and_query()
        .map_or(1, |target| target.as_str().len());
    let authority = head
        .uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let fields: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    target + authority + fields
}

fn check_target(head: &Parts) -> Result<(), BadRequest> {
    if head.method == Method::CONNECT {
        return Err(BadRequest::Connect);
    }
    let uri = &head.uri;
    let scheme_fits = match uri.scheme_str() {
        Some(scheme) => scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"),
        // An authority alone is the form of CONNECT.
        None => uri.authority().is_none(),
    };
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let form_fits = match target {
        "*" => head.method == Method::OPTIONS,
        // Over HTTP/2 an absolute URI is put together from pseudo-headers; over HTTP/1 an empty path means `/`.
        _ => target.starts_with('/'),
    };
    let bytes_fit = target
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if scheme_fits && form_fits && bytes_fit {
        Ok(())
    } else {
        Err(BadRequest::Target)
    }
}

fn check_host(head: &Parts) -> Result<(), BadRequest> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadRequest::HostRepeated);
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(BadRequest::HostMalformed);
    }
    let authority = head.uri.authority().map(|authority| authority.as_str());
    if authority.is_some_and(|authority| !is_host(authority.as_bytes())) {
        return Err(BadRequest::HostMalformed);
    }
    match (head.version, host, authority) {
        (Version::HTTP_2, Some(host), Some(authority))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) =>
        {
            Err(BadRequest::HostContradicted)
        }
        (Version::HTTP_2, None, None) | (Version::HTTP_11, None, _) => Err(BadRequest::HostMissing),
        _ => Ok(()),
    }
}

fn check_framing(head: &Parts) -> Result<(), BadRequest> {
    let mut encodings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let encoding = encodings.next();
    if encoding.is_some_and(|encoding| {
        head.version != Version::HTTP_11 || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
    }) || encodings.next().is_some()
    {
        return Err(BadRequest::TransferEncoding);
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next().map(HeaderValue::as_bytes);
    let odd =
        length.is_some_and(|length| length.is_empty() || !length.iter().all(u8::is_ascii_digit));
    if odd || lengths.next().is_some() || (length.is_some() && encoding.is_some()) {
        return Err(BadRequest::ContentLength);
    }
    Ok(())
}

/// A registered name of letters, digits, `-`, `.` and `_`, or an address; with an optional port. Stricter than RFC 3986,
/// whose names may hold commas and percent signs, which readers disagree on.
fn is_host(host: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let after = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let address = str::from_utf8(&rest[..end]);
            if !address.is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
                return false;
            }
            &rest[end + 1..]
        }
        _ => match host.iter().position(|byte| !is_of_name(byte)) {
            None => return !host.is_empty(),
            Some(0) => return false,
            Some(end) => &host[end..],
        },
    };
    match after {
        // An empty port is the default one, RFC 3986, 3.2.3.
        [] | [b':'] => true,
        [b':', port @ ..] => {
            let number = port.iter().try_fold(0_u16, |number, byte| {
                let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
                number.checked_mul(10)?.checked_add(digit)
            });
            number.is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for host in [
            "a",
            "a.example:8080",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:80",
            "a_b-c.d",
            "a:",
            "[::1]:",
            "a:65535",
            "a:00080",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a,b", "u@a", "a/b", "a:b", "a:80:90", "a:65536", "a:+1", "a:8x",
            "[::1", "[]:1", "[::1]x", "[x]:1", "::1", "a%41", "é",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn an_absolute_target_becomes_an_origin_form_target_and_the_host() {
        for (target, path) in [
            ("http://real:81/a?b", "/a?b"),
            ("http://real:81", "/"),
            ("http://real:81?b", "/?b"),
        ] {
            let mut head = http::Request::builder()
                .uri(target)
                .header("host", "other")
                .body(())
                .unwrap()
                .into_parts()
                .0;
            normalise(&mut head);
            assert_eq!(head.uri.to_string(), path);
            assert_eq!(head.headers["host"], "real:81");
        }
    }
}
