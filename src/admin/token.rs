//! The operators' bearer token.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;

/// What operators have to bring. The token itself is not kept, only its MAC, which is compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorToken([u8; 32]);

impl OperatorToken {
    /// This very token.
    pub fn new(token: &[u8]) -> Self {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&key(), token).as_ref());
        Self(mac)
    }

    /// Whether the request has it: one `Authorization: Bearer …` (RFC 6750, section 2.1), and it is the same.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else {
            return false;
        };
        let Some((scheme, token)) = value.as_bytes().split_at_checked(BEARER.len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(BEARER)
            && hmac::verify(&key(), token.trim_ascii(), &self.0).is_ok()
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

/// It is no secret: it only makes the comparison one of two MACs of the same length.
fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, b"operator token")
}

const BEARER: &[u8] = b"Bearer ";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn admits(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        OperatorToken::new(b"s3cret").admits(&headers)
    }

    #[test]
    fn the_same_token_is_let_in_and_nothing_else() {
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(admits(&[right]), "{right}");
        }
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer S3cret",
            "Basic s3cret",
            "s3cret",
            "Bearers3cret",
        ] {
            assert!(!admits(&[wrong]), "{wrong}");
        }
        assert!(!admits(&[]));
        assert!(!admits(&["Bearer s3cret", "Bearer s3cret"]));
    }

    #[test]
    fn it_does_not_show() {
        assert_eq!(
            format!("{:?}", OperatorToken::new(b"s3cret")),
            "OperatorToken(…)"
        );
    }
}
