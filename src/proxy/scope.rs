//! Step one, second half: within what a key is unique, and under which credentials.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use ipnet::IpNet;

use super::client_ip::client_ip;
use super::jwt::TokenVerifier;
use super::policy::{Policy, ScopePart};
use crate::fault::{Seeded, seeded};
use crate::idempotency::digest::Digest;
use crate::idempotency::{Caller, Scope, Verified, claim, in_cookies};
use crate::wire::{Code, Problem};

/// What names a key besides the request that has it.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// Part of every record id.
    pub(super) service: &'a str,
    /// Verifies tokens.
    pub(super) jwt: Option<&'a TokenVerifier>,
    /// Whose word on the client's address is believed.
    pub(super) trust_forwarded: &'a [IpNet],
}

/// Within what a key is unique.
pub(super) struct Within {
    pub(super) scope: Scope,
    /// Digest of the credentials, where they name the caller.
    pub(super) credentials: Option<Digest>,
    /// Whether those were verified, as far as the scope asked.
    pub(super) verified: Verified,
    /// Whether cookies came, and nothing in the scope tells their users apart.
    pub(super) cookies_only: bool,
}

/// Within what the key of a request is unique.
pub(super) fn scope(
    request: &Parts,
    policy: &Policy,
    around: Around<'_>,
) -> Result<Within, Problem> {
    let headers = &request.headers;
    let has = |is: fn(&ScopePart) -> bool| policy.scope.iter().any(is);
    let has_claims = has(|part| matches!(part, ScopePart::Jwt(_)));
    let authorization = if has_claims || has(|part| *part == ScopePart::Caller) {
        authorization(headers)?
    } else {
        None
    };
    let caller = Caller::from_authorization(authorization);
    let claims = match (authorization, around.jwt) {
        (Some(value), Some(jwt)) if has_claims => jwt.claims(value),
        _ => None,
    };
    let mut told_apart = caller.credentials.is_some();
    let mut scope = Scope::new(around.service);
    // In a fixed order, so that the order in the configuration names no other record.
    let mut parts: Vec<&ScopePart> = policy.scope.iter().collect();
    parts.sort_by(|one, other| one.place().cmp(&other.place()));
    for part in parts {
        match part {
            ScopePart::Method => scope.with("method", request.method.as_str().as_bytes()),
            ScopePart::Path => scope.with("path", request.uri.path().as_bytes()),
            ScopePart::Caller if seeded(Seeded::CallerLeftOut) => {}
            ScopePart::Caller => scope.with("caller", &caller.identity),
            ScopePart::Query => {
                scope.with_optional("query", request.uri.query().map(str::as_bytes));
            }
            ScopePart::Header(name) => {
                let value = only(part, headers.get_all(name).iter())?;
                scope.with_optional(&part.to_string(), value.map(|value| value.as_bytes()));
            }
            ScopePart::Cookie(name) => {
                let fields = headers.get_all(COOKIE).iter();
                let values = fields.flat_map(|field| in_cookies(field.as_bytes(), name));
                let value = only(part, values)?;
                told_apart |= value.is_some();
                scope.with_optional(&part.to_string(), value);
            }
            ScopePart::Jwt(name) => {
                let claim = claims.as_ref().and_then(|claims| claims.get(name));
                scope.with(&part.to_string(), &claim::scoped(authorization, claim));
            }
            ScopePart::ClientIp => {
                let address = client_ip(request, around.trust_forwarded);
                let text = address.map(|address| address.to_string());
                scope.with_optional("client-ip", text.as_ref().map(String::as_bytes));
            }
        }
    }
    Ok(Within {
        scope,
        credentials: caller.credentials,
        verified: match (has_claims, &claims) {
            (false, _) => Verified::Untold,
            (true, Some(_)) => Verified::Yes,
            (true, None) => Verified::No,
        },
        cookies_only: headers.contains_key(COOKIE) && !told_apart,
    })
}

/// Whether the credentials of a request can be verified.
pub(super) fn verified(headers: &HeaderMap, jwt: Option<&TokenVerifier>) -> Verified {
    let claims = match (authorization(headers), jwt) {
        (Ok(Some(value)), Some(jwt)) => jwt.claims(value),
        _ => None,
    };
    match claims {
        Some(_) => Verified::Yes,
        None => Verified::No,
    }
}

fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next();
    match values.next() {
        None => Ok(value.map(|value| value.as_bytes())),
        Some(_) => Err(twice("the header Authorization")),
    }
}

/// The only value of a part, if there is one.
fn only<T>(part: &ScopePart, mut values: impl Iterator<Item = T>) -> Result<Option<T>, Problem> {
    let first = values.next();
    match (values.next(), part) {
        (None, _) => Ok(first),
        (Some(_), ScopePart::Cookie(name)) => Err(twice(&format!("the cookie {name}"))),
        (Some(_), ScopePart::Header(name)) => Err(twice(&format!("the header {name}"))),
        (Some(_), part) => Err(twice(&part.to_string())),
    }
}

fn twice(what: &str) -> Problem {
    Problem::new(
        Code::ScopeAmbiguous,
        format!("{what}, a part of the key's scope, occurs twice"),
    )
}
