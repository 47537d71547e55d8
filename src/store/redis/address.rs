//! Where a server listens.

/// Where a server listens; a name is resolved anew at each connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    /// A name or an IP address; IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads `HOST:PORT`, as servers name each other. The host is empty where they do not know it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().ok()?,
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_name_each_other_with_and_without_brackets() {
        for (text, host, shown) in [
            ("10.0.0.1:7000", "10.0.0.1", "10.0.0.1:7000"),
            ("::1:7000", "::1", "[::1]:7000"),
            ("[::1]:7000", "::1", "[::1]:7000"),
            (":7000", "", ":7000"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, 7000));
            assert_eq!(address.to_string(), shown);
        }
        assert_eq!(Address::parse("nowhere"), None);
        assert_eq!(Address::parse("a:99999"), None);
    }
}
