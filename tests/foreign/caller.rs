//! `Authorization`, as far as it names who calls.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use idemproxy::idempotency::Caller;
use serde_json::Value;

/// Two values, a line each, are one caller only if they are the same, or tokens of one issuer and subject, or passwords of
/// one user; and one credential only if they are the same.
pub(crate) fn holds(input: &[u8]) {
    let newline = input.iter().position(|byte| *byte == b'\n');
    let (one, other) = input.split_at(newline.unwrap_or(input.len()));
    let other = other.strip_prefix(b"\n").unwrap_or(other);

    let callers = [one, other].map(|value| Caller::from_authorization(Some(value)));
    let [first, second] = callers;
    assert_eq!(first.credentials == second.credentials, one == other);
    if first.identity == second.identity && one != other {
        let name = name(one);
        assert!(
            name.is_some() && name == self::name(other),
            "two are one caller"
        );
    }
    let nobody = Caller::from_authorization(None);
    assert_eq!(nobody.credentials, None);
    assert!(
        callers
            .iter()
            .all(|caller| caller.identity != nobody.identity)
    );
    assert_eq!(first, Caller::from_authorization(Some(one)));
}

/// Whom a value names, if not just itself.
#[derive(PartialEq, Eq)]
enum Name {
    Jwt { iss: String, sub: String },
    Basic(Vec<u8>),
}

fn name(value: &[u8]) -> Option<Name> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = BASE64_STANDARD.decode(token).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        return Some(Name::Basic(pair[..colon].to_vec()));
    }
    let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    let [_, claims, _] = parts[..] else {
        return None;
    };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let claims = claims.as_object()?;
    let iss = claims.get("iss").filter(|iss| !iss.is_null());
    Some(Name::Jwt {
        iss: iss.map_or(Some(String::new()), text)?,
        sub: text(claims.get("sub")?)?,
    })
}

fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}
