//! Keeps web pages away from the operator's listener.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderValue, Request, StatusCode, Version};

use super::answer::Refusal;

/// Whether the request may have come from an operator.
///
/// # Errors
///
/// 400 without a `Host`, which only HTTP/1.0 may leave out, or with two (RFC 9112, section 3.2); 421 for one that is no address, not
/// `localhost` and not among `hosts` (a rebound name), where the authority of the target goes before the header (section 3.2.2); 403 for a
/// page of another origin.
pub(super) fn check<B>(request: &Request<B>, hosts: &[String]) -> Result<(), Refusal> {
    let headers = request.headers();
    let mut given = headers.get_all(HOST).iter();
    let named = given.next().map(HeaderValue::as_bytes);
    let is_old = request.version() < Version::HTTP_11;
    if (named.is_none() && !is_old) || given.next().is_some() {
        return Err(Refusal::bad("expected one Host"));
    }
    let authority = request.uri().authority().map(|it| it.as_str().as_bytes());
    let host = authority.or(named);
    // Without one it is an old probe and no browser.
    if !host.is_none_or(|host| is_ours(host, hosts)) {
        return Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "the Host is neither an address, localhost nor configured",
        ));
    }
    let own_origin = |origin: &HeaderValue| {
        let name = origin.as_bytes();
        let name = name
            .strip_prefix(b"http://")
            .or_else(|| name.strip_prefix(b"https://"));
        name.is_some() && name == host
    };
    let own_site = |site: &HeaderValue| site == "same-origin" || site == "none";
    if headers.get_all(ORIGIN).iter().all(own_origin)
        && headers.get_all("sec-fetch-site").iter().all(own_site)
    {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the request comes from a page of another origin",
        ))
    }
}

fn is_ours(host: &[u8], hosts: &[String]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            matches!(name.parse(), Ok(IpAddr::V4(_)))
                || name.eq_ignore_ascii_case("localhost")
                || hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn verdict(headers: &[(&'static str, &str)]) -> u16 {
        verdict_of(Version::HTTP_11, "/", headers)
    }

    fn verdict_of(version: Version, target: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        check(&request, &["idemproxy.internal".to_owned()])
            .map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "[::1]:9090",
            "[::1]",
            "localhost:1",
            "LocalHost",
            "idemproxy.internal:9090",
        ] {
            assert_eq!(verdict(&[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "",
            "[evil]",
            "::1",
        ] {
            assert_eq!(verdict(&[("host", host)]), 421, "{host}");
        }
    }

    #[test]
    fn one_host_is_needed_and_the_authority_of_the_target_goes_before_it() {
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        let (ours, evil) = (("host", "localhost"), ("host", "evil.example"));
        for (version, target, headers, status) in [
            (new, "/", &[][..], 400),
            (old, "/", &[], 200),
            (new, "/", &[ours, ours], 400),
            (old, "/", &[ours, evil], 400),
            (old, "/", &[evil], 421),
            (new, "http://localhost/", &[], 400),
            (new, "http://evil.example/", &[ours], 421),
            (old, "http://evil.example/", &[], 421),
            (new, "http://evil.example@localhost/", &[ours], 421),
            (new, "http://localhost/", &[evil], 200),
            (new, "http://idemproxy.internal:9090/", &[ours], 200),
        ] {
            let told = verdict_of(version, target, headers);
            assert_eq!(told, status, "{version:?} {target} {headers:?}");
        }
        let page = ("origin", "http://evil.example");
        let target = "http://localhost/";
        assert_eq!(verdict_of(new, target, &[evil, page]), 403);
    }

    #[test]
    fn pages_of_other_origins_are_kept_out() {
        let host = ("host", "localhost:9090");
        assert_eq!(
            verdict(&[
                host,
                ("origin", "http://localhost:9090"),
                ("sec-fetch-site", "same-origin")
            ]),
            200
        );
        assert_eq!(verdict(&[host, ("sec-fetch-site", "none")]), 200);
        for foreign in [
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(verdict(&[host, foreign]), 403, "{foreign:?}");
        }
    }
}
