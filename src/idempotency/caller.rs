//! Who calls, as far as the `Authorization` header tells.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::digest::{Digest, Hasher};

/// Who calls, and under which credentials.
///
/// Two tokens of one person are one caller under two credentials, so a refreshed token meets its record.
/// Nothing here is verified: a caller is part of a scope, not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Names the caller; without an `Authorization` header, nobody.
    pub identity: Digest,
    /// Tells the credentials themselves apart; nothing without any.
    pub credentials: Option<Digest>,
    /// What the identity was taken from.
    pub taken_from: TakenFrom,
}

/// What of the `Authorization` header names a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenFrom {
    /// There is no such header.
    Nothing,
    /// `iss` and `sub` of a bearer JWT.
    Jwt,
    /// The user name of Basic credentials.
    Basic,
    /// All of it.
    Whole,
}

impl Caller {
    /// Reads the value of `Authorization`: of a bearer JWT `iss` and `sub`, of Basic the user name, else
    /// a digest of the whole value.
    pub fn from_authorization(value: Option<&[u8]>) -> Self {
        static NOBODY: LazyLock<Digest> = LazyLock::new(|| {
            let mut identity = Hasher::new("caller");
            identity.part(b"nobody");
            identity.finish()
        });
        let Some(value) = value else {
            return Self {
                identity: *NOBODY,
                credentials: None,
                taken_from: TakenFrom::Nothing,
            };
        };
        let mut identity = Hasher::new("caller");
        let taken_from = if let Some(Subject { iss, sub }) = bearer_subject(value) {
            identity
                .part(b"jwt")
                .part(iss.map(Name::into_text).unwrap_or_default().as_bytes())
                .part(sub.into_text().as_bytes());
            TakenFrom::Jwt
        } else if let Some(user) = basic_user(value) {
            identity.part(b"basic").part(&user);
            TakenFrom::Basic
        } else {
            identity.part(b"opaque").part(value);
            TakenFrom::Whole
        };
        let mut credentials = Hasher::new("credentials");
        credentials.part(value);
        Self {
            identity: identity.finish(),
            credentials: Some(credentials.finish()),
            taken_from,
        }
    }
}

/// The token of an `Authorization` value, if its scheme is `Bearer` (RFC 6750, section 2.1).
pub fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    after_scheme(value, b"bearer ")
}

#[derive(Deserialize)]
struct Subject {
    iss: Option<Name>,
    sub: Name,
}

/// RFC 7519 has texts; some issuers write numbers. One that is not whole or too large is none: two of them may read as one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(u64),
    Negative(i64),
}

impl Name {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Negative(number) => number.to_string(),
        }
    }
}

fn bearer_subject(value: &[u8]) -> Option<Subject> {
    let token = bearer_token(value)?;
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    // An array would be read as the fields in their order, and is no set of claims (RFC 7519, section 4).
    let is_object = claims.trim_ascii_start().starts_with('{');
    is_object.then(|| serde_json::from_str(&claims).ok())?
}

fn basic_user(value: &[u8]) -> Option<Vec<u8>> {
    let mut pair = BASE64_STANDARD
        .decode(after_scheme(value, b"basic ")?)
        .ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    pair.truncate(colon);
    Some(pair)
}

/// Scheme names are case-insensitive (RFC 9110 11.1).
fn after_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caller(value: &str) -> Caller {
        Caller::from_authorization(Some(value.as_bytes()))
    }

    fn jwt(claims: &str, signature: &str) -> String {
        format!(
            "Bearer e30.{}.{signature}",
            BASE64_URL_SAFE_NO_PAD.encode(claims)
        )
    }

    #[test]
    fn a_refreshed_token_is_the_same_caller_under_other_credentials() {
        let first = caller(&jwt(r#"{"iss":"a","sub":"u1","exp":1}"#, "s1"));
        let refreshed = caller(&jwt(r#"{"iss":"a","sub":"u1","exp":2}"#, "s2"));
        assert_eq!(first.identity, refreshed.identity);
        assert_ne!(first.credentials, refreshed.credentials);
    }

    #[test]
    fn another_subject_or_issuer_is_another_caller() {
        let one = caller(&jwt(r#"{"iss":"a","sub":"u1"}"#, "s")).identity;
        assert_ne!(one, caller(&jwt(r#"{"iss":"a","sub":"u2"}"#, "s")).identity);
        assert_ne!(one, caller(&jwt(r#"{"iss":"b","sub":"u1"}"#, "s")).identity);
        assert_ne!(one, caller(&jwt(r#"{"sub":"u1"}"#, "s")).identity);
    }

    #[test]
    fn a_subject_or_issuer_that_is_a_number_counts_as_its_text() {
        let first = caller(&jwt(r#"{"iss":7,"sub":42,"exp":1}"#, "s1"));
        let refreshed = caller(&jwt(r#"{"iss":7,"sub":42,"exp":2}"#, "s2"));
        assert_eq!(first.identity, refreshed.identity);
        assert_ne!(first.credentials, refreshed.credentials);
        let identity = |claims| caller(&jwt(claims, "s1")).identity;
        assert_eq!(first.identity, identity(r#"{"iss":"7","sub":"42"}"#));
        assert_ne!(first.identity, identity(r#"{"iss":7,"sub":43}"#));
        assert_ne!(first.identity, identity(r#"{"iss":8,"sub":42}"#));
        assert_eq!(
            identity(r#"{"sub":-1,"exp":1}"#),
            identity(r#"{"sub":"-1","exp":2}"#)
        );
    }

    #[test]
    fn a_subject_or_issuer_of_any_other_kind_names_nobody() {
        for claims in [
            r#"{"iss":"a","sub":null"#,
            r#"{"iss":"a","sub":true"#,
            r#"{"iss":"a","sub":["u1"]"#,
            r#"{"iss":"a","sub":{"id":1}"#,
            r#"{"iss":"a","sub":1.5"#,
            // Read as a number these two would be one.
            r#"{"iss":"a","sub":100000000000000000000000000000001"#,
            r#"{"iss":"a","sub":100000000000000000000000000000002"#,
            r#"{"iss":["a"],"sub":"u1""#,
            r#"{"iss":"a""#,
        ] {
            let token = |expires| jwt(&format!("{claims},\"exp\":{expires}}}"), "s");
            let opaque = caller(&token(1));
            assert_eq!(opaque.identity, caller(&token(1)).identity, "{claims}");
            assert_ne!(opaque.identity, caller(&token(2)).identity, "{claims}");
        }
    }

    #[test]
    fn claims_that_are_no_object_name_nobody() {
        let claims = r#"["a","u1"]"#;
        assert_ne!(
            caller(&jwt(claims, "s1")).identity,
            caller(&jwt(claims, "s2")).identity
        );
    }

    #[test]
    fn basic_credentials_are_named_by_their_user() {
        let old = caller(&format!("Basic {}", BASE64_STANDARD.encode("ann:old")));
        let new = caller(&format!("basic {}", BASE64_STANDARD.encode("ann:new:er")));
        assert_eq!(old.identity, new.identity);
        assert_ne!(old.credentials, new.credentials);
        assert_ne!(
            old.identity,
            caller(&format!("Basic {}", BASE64_STANDARD.encode("bob:old"))).identity
        );
    }

    #[test]
    fn anything_else_is_named_by_its_whole_value() {
        assert_ne!(
            caller("Bearer sk_live_1").identity,
            caller("Bearer sk_live_2").identity
        );
        assert_ne!(
            caller("Bearer a.b.c").identity,
            caller("Bearer a.b.d").identity
        );
    }

    #[test]
    fn no_header_is_nobody_and_nobody_is_no_one_else() {
        let nobody = Caller::from_authorization(None);
        assert_eq!(nobody.credentials, None);
        assert_ne!(nobody.identity, caller("").identity);
        assert_ne!(nobody.identity, caller("nobody").identity);
    }

    proptest! {
        #[test]
        fn any_value_names_a_caller(value: Vec<u8>) {
            Caller::from_authorization(Some(&value));
        }
    }
}
