//! Keeps web pages away from the operator's listener.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::answer::Refusal;

/// Whether the request may have come from an operator.
///
/// # Errors
///
/// 421 for a `Host` that is no address, not `localhost` and not among `hosts` (a rebound name); 403 for a page of another
/// origin.
pub(super) fn check(headers: &HeaderMap, hosts: &[String]) -> Result<(), Refusal> {
    let mut given = headers.get_all(HOST).iter();
    let host = given.next().map(HeaderValue::as_bytes);
    // Without a Host it is an old probe and no browser.
    let host_fits = host.is_none_or(|host| is_ours(host, hosts)) && given.next().is_none();
    if !host_fits {
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
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        check(&headers, &["idemproxy.internal".to_owned()])
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
        assert_eq!(
            verdict(&[("host", "localhost"), ("host", "localhost")]),
            421
        );
        assert_eq!(verdict(&[]), 200);
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
