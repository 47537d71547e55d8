//! The address of the client, behind the proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::wire::Peer;

/// The address of the client.
///
/// Of a peer that is not trusted, its own. Of one that is, the last address in `X-Forwarded-For` that is not trusted itself, as
/// nginx's `real_ip_recursive` has it; where all are, the first. What cannot be read ends the search at the nearest address that is
/// known. An IPv4 address mapped into IPv6 is the IPv4 address.
pub(super) fn client_ip(peer: &Peer, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.addr().ip().to_canonical();
    if !is_trusted(peer, trusted) {
        return client;
    }
    let lines: Vec<&[u8]> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .map(|line| line.as_bytes())
        .collect();
    let elements = lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // Empty elements of a list mean nothing (RFC 9110, section 5.6.1).
        .filter(|element| !element.is_empty());
    for element in elements {
        let Some(address) = address(element) else {
            break;
        };
        client = address.to_canonical();
        if !trusted.iter().any(|net| net.contains(&client)) {
            break;
        }
    }
    client
}

/// Whether `X-Forwarded-*` of this peer is believed.
pub(super) fn is_trusted(peer: &Peer, trusted: &[IpNet]) -> bool {
    let ip = peer.addr().ip().to_canonical();
    trusted.iter().any(|net| net.contains(&ip))
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

/// The header in which proxies tell whom they work for; each adds its own peer at the end.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn of(peer: &str, lines: &[&str]) -> String {
        let lines = lines
            .iter()
            .map(|line| HeaderValue::from_str(line).unwrap());
        among(peer, lines).to_string()
    }

    fn among(peer: &str, lines: impl Iterator<Item = HeaderValue>) -> IpAddr {
        let nets: Vec<IpNet> = ["127.0.0.0/8", "10.0.0.0/8", "fc00::/7"]
            .map(|net| net.parse().unwrap())
            .to_vec();
        let headers: HeaderMap = lines.map(|line| (X_FORWARDED_FOR, line)).collect();
        let addr = SocketAddr::new(peer.parse().unwrap(), 1);
        client_ip(&Peer::new(addr, "http"), &headers, &nets)
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        assert_eq!(of("192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(of("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(of("2001:db8::1", &["10.0.0.1"]), "2001:db8::1");
    }

    #[test]
    fn behind_trusted_peers_it_is_the_last_address_that_is_not_trusted() {
        for (lines, client) in [
            (&[][..], "10.0.0.1"),
            (&["203.0.113.9"], "203.0.113.9"),
            (&["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            (&["1.2.3.4, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (
                &["1.2.3.4", "203.0.113.9", "10.0.0.2,10.0.0.3"],
                "203.0.113.9",
            ),
            (&["203.0.113.9,, ,10.0.0.2,"], "203.0.113.9"),
            (&["::ffff:203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["2001:db8::9"], "2001:db8::9"),
            (&["[2001:db8::9]"], "2001:db8::9"),
            (&["[2001:db8::9]:4711, fc00::1"], "2001:db8::9"),
        ] {
            assert_eq!(of("10.0.0.1", lines), client, "{lines:?}");
        }
    }

    #[test]
    fn where_all_are_trusted_it_is_the_first() {
        assert_eq!(of("127.0.0.1", &["10.0.0.8, 10.0.0.9"]), "10.0.0.8");
    }

    #[test]
    fn what_cannot_be_read_ends_the_search_at_the_nearest_address_that_is_known() {
        for (lines, client) in [
            (&["203.0.113.9, unknown"][..], "10.0.0.1"),
            (&["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["_hidden, 10.0.0.2"], "10.0.0.2"),
            (&["1.2.3.4 10.0.0.2"], "10.0.0.1"),
            (&["203.0.113.9, 999.0.0.1, 10.0.0.3"], "10.0.0.3"),
        ] {
            assert_eq!(of("10.0.0.1", lines), client, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_leaves_an_address(lines: Vec<Vec<u8>>) {
            let values = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
            among("10.0.0.1", values);
        }

        /// Whatever a client writes before its trusted proxy adds its address, that address is the client's.
        #[test]
        fn nothing_that_a_client_writes_makes_it_another(forged in "[0-9a-f.:, \\[\\]x]{0,60}") {
            prop_assert_eq!(of("10.0.0.1", &[&forged, "192.0.2.1"]), "192.0.2.1");
            let line = format!("{forged}, 192.0.2.1, 10.0.0.2");
            prop_assert_eq!(of("10.0.0.1", &[&line]), "192.0.2.1");
        }
    }
}
