//! `[jwt]`.

use std::sync::Arc;
use std::time::Duration;

use super::defaults::{JWT_ALGORITHMS, JWT_LEEWAY, JWT_SECRET_ALGORITHMS, TIMEOUT_MAX};
use super::kind::{Read, Value, duration, list, text, wrong};
use super::reader::Reader;
use super::words::content;
use crate::proxy::jwt::{Algorithm, BadKeys, TokenRules, TokenVerifier};

/// What verifies tokens; nothing where the section is not written, or at fault.
pub(super) fn read(table: &Reader<'_>) -> Option<Arc<TokenVerifier>> {
    let keys = table.get("keys", content);
    let secret = table.get("secret_file", content);
    let algorithms = table.get("algorithms", list(1, algorithm));
    let of_secret = table.spot_of(&["secret_file"]).is_some();
    let rules = TokenRules {
        algorithms: algorithms.unwrap_or_else(|| match of_secret {
            true => JWT_SECRET_ALGORITHMS.to_vec(),
            false => JWT_ALGORITHMS.to_vec(),
        }),
        issuer: table.get("issuer", named),
        audience: table.get("audience", named),
        leeway: table.get_or("leeway", leeway, JWT_LEEWAY),
    };
    if !table.is_written() {
        return None;
    }
    match (table.spot_of(&["keys"]), of_secret) {
        (None, false) => {
            table.fault(
                None,
                "expected `keys`, the file of a JSON Web Key Set, or `secret_file`",
            );
            return None;
        }
        (Some(_), true) => {
            table.fault(
                table.spot_of(&["secret_file"]),
                "expected `keys` or `secret_file`, not both",
            );
            return None;
        }
        _ => {}
    }
    if !table.sound(&["algorithms"]) {
        return None;
    }
    let (verifier, key) = match (keys, secret) {
        (Some(keys), _) => (TokenVerifier::of_key_set(&keys, rules), "keys"),
        (None, Some(secret)) => (TokenVerifier::of_secret(&secret, rules), "secret_file"),
        (None, None) => return None,
    };
    verifier
        .map(Arc::new)
        .map_err(|error| match error {
            BadKeys::Algorithm(algorithm) => {
                let kind = match key {
                    "keys" => "RS…, PS…, ES… or EdDSA with `keys`, which are public",
                    _ => "HS256, HS384 or HS512 with `secret_file`",
                };
                let spot = table.spot_of(&["algorithms"]);
                table.fault(
                    spot,
                    format!("{algorithm:?} is none for these keys, expected {kind}"),
                );
            }
            other => table.fault(table.spot_of(&[key]), other.to_string()),
        })
        .ok()
}

/// Times in tokens are seconds.
fn leeway(value: &Value<'_>) -> Read<Duration> {
    let leeway = duration(Duration::ZERO..=TIMEOUT_MAX)(value)?;
    match leeway.subsec_nanos() {
        0 => Ok(leeway),
        _ => wrong(value, "whole seconds"),
    }
}

fn algorithm(value: &Value<'_>) -> Read<Algorithm> {
    text(
        "an algorithm of signatures: \"RS256\", \"RS384\", \"RS512\", \"PS256\", \"PS384\", \"PS512\", \"ES256\", \"ES384\", \"EdDSA\", or with `secret_file` \"HS256\", \"HS384\", \"HS512\"",
        |text| text.parse().ok(),
    )(value)
}

fn named(value: &Value<'_>) -> Read<String> {
    text(
        "a text that is not empty, without control characters",
        |text| {
            let printable = !text.chars().any(char::is_control);
            (!text.is_empty() && printable).then(|| text.to_owned())
        },
    )(value)
}
