//! One claim of a verified token, as a part of a scope.

use serde_json::Value;

use super::digest::{Digest, Hasher};

/// What the `jwt:` part of a scope comes to.
///
/// `authorization` is the header's value; without it there is nobody. `claim` is a claim of a token in it that was verified. What is
/// not verified, and a verified token without a claim that can be told exactly, counts as its whole value, and so is apart from all
/// others. A text, a number and a boolean are never the same, whatever they read as.
pub fn scoped(authorization: Option<&[u8]>, claim: Option<&Value>) -> Digest {
    let mut hasher = Hasher::new("claim");
    match (authorization, claim) {
        (None, _) => hasher.part(b"nobody"),
        (Some(_), Some(Value::String(text))) => hasher.part(b"text").part(text.as_bytes()),
        // Two fractions, or two numbers beyond 64 bits, may read as one.
        (Some(_), Some(Value::Number(number))) if !number.is_f64() => {
            hasher.part(b"number").part(number.to_string().as_bytes())
        }
        (Some(_), Some(Value::Bool(flag))) => {
            hasher.part(b"boolean").part(flag.to_string().as_bytes())
        }
        (Some(value), _) => hasher.part(b"opaque").part(value),
    };
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(token: &str, claim: Value) -> Digest {
        scoped(Some(token.as_bytes()), Some(&claim))
    }

    fn unverified(token: &str) -> Digest {
        scoped(Some(token.as_bytes()), None)
    }

    #[test]
    fn two_tokens_with_one_claim_are_one() {
        for claim in [json!("admin"), json!(7), json!(-7), json!(true), json!("")] {
            assert_eq!(of("Bearer a", claim.clone()), of("Bearer b", claim));
        }
    }

    #[test]
    fn another_value_or_kind_of_claim_is_another() {
        let claims = [
            json!("admin"),
            json!("Admin"),
            json!(""),
            json!("7"),
            json!(7),
            json!("true"),
            json!(true),
            json!(false),
        ];
        let digests: std::collections::HashSet<_> =
            claims.iter().map(|claim| of("a", claim.clone())).collect();
        assert_eq!(digests.len(), claims.len());
    }

    #[test]
    fn a_claim_that_cannot_be_told_exactly_is_none() {
        for claim in [
            json!(null),
            json!(1.5),
            json!(1e30),
            json!(["a"]),
            json!({}),
        ] {
            assert_eq!(of("a", claim.clone()), unverified("a"), "{claim}");
            assert_ne!(of("a", claim.clone()), of("b", claim.clone()), "{claim}");
        }
    }

    #[test]
    fn what_was_not_verified_is_apart_from_all_others_and_nobody_is_nobody() {
        assert_eq!(unverified("a"), unverified("a"));
        assert_ne!(unverified("a"), unverified("b"));
        assert_ne!(unverified("admin"), of("a", json!("admin")));
        let nobody = scoped(None, None);
        for other in [
            unverified(""),
            unverified("nobody"),
            of("a", json!("nobody")),
        ] {
            assert_ne!(nobody, other);
        }
    }
}
