//! Where on the upstream something about an operation is asked.

use std::fmt;
use std::str::FromStr;

use super::key::Key;

/// The path and query of a GET on the upstream, in which `{key}` stands for the idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// Not such a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// No slash first, or a character that no path and query has.
    #[error("expected a path, percent-encoded, such as \"/orders?client_id={{key}}\"")]
    NoPath,
    /// Another placeholder, or half of one.
    #[error("expected no placeholder but {{key}}")]
    Placeholder,
}

impl Template {
    /// The path and query for a key, which is percent-encoded but for what RFC 3986 calls unreserved; nothing for a key that
    /// [leads elsewhere](Self::leads_elsewhere).
    pub fn fill(&self, key: &Key) -> Option<String> {
        if !self.names_key() {
            return Some(self.0.clone());
        }
        if Self::leads_elsewhere(key) {
            return None;
        }
        let mut encoded = String::with_capacity(key.as_str().len());
        for byte in key.as_str().bytes() {
            match byte {
                b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
                _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
        }
        Some(self.0.replace(KEY, &encoded))
    }

    /// Whether it takes the key.
    pub fn names_key(&self) -> bool {
        self.0.contains(KEY)
    }

    /// Whether a key is a dot segment, which no percent-encoding keeps from being resolved.
    pub fn leads_elsewhere(key: &Key) -> bool {
        matches!(key.as_str(), "." | "..")
    }
}

const KEY: &str = "{key}";

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        if text.replace(KEY, "").contains(['{', '}']) {
            return Err(BadTemplate::Placeholder);
        }
        let sendable = |byte: u8| byte.is_ascii_graphic() && !b"#\"<>\\^`|".contains(&byte);
        // Two slashes would be read as an authority by whoever resolves it.
        if !text.starts_with('/') || text.starts_with("//") || !text.bytes().all(sendable) {
            return Err(BadTemplate::NoPath);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, key: &str) -> Option<String> {
        let template: Template = template.parse().unwrap();
        template.fill(&Key::bare(key.as_bytes(), 255).unwrap())
    }

    #[test]
    fn a_key_stays_within_its_place() {
        for (key, filled) in [
            ("a-B_1.~", "/o/a-B_1.~?id=a-B_1.~"),
            (
                "a/b?c&d=e f",
                "/o/a%2Fb%3Fc%26d%3De%20f?id=a%2Fb%3Fc%26d%3De%20f",
            ),
            ("../x", "/o/..%2Fx?id=..%2Fx"),
            ("%2e", "/o/%252e?id=%252e"),
            ("{key}", "/o/%7Bkey%7D?id=%7Bkey%7D"),
            ("...", "/o/...?id=..."),
        ] {
            assert_eq!(fill("/o/{key}?id={key}", key).as_deref(), Some(filled));
        }
    }

    #[test]
    fn a_key_that_leads_elsewhere_fills_nothing() {
        for key in [".", ".."] {
            assert_eq!(fill("/o/{key}", key), None);
            assert_eq!(fill("/me", key).as_deref(), Some("/me"));
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (text, why) in [
            ("", BadTemplate::NoPath),
            ("orders", BadTemplate::NoPath),
            ("//host/x", BadTemplate::NoPath),
            ("http://host/", BadTemplate::NoPath),
            ("/a b", BadTemplate::NoPath),
            ("/a#b", BadTemplate::NoPath),
            ("/é", BadTemplate::NoPath),
            ("/{id}", BadTemplate::Placeholder),
            ("/{key", BadTemplate::Placeholder),
            ("/{{key}}", BadTemplate::Placeholder),
        ] {
            assert_eq!(text.parse::<Template>(), Err(why), "{text}");
        }
    }
}
