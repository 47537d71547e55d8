//! Step one, second half: within what a key is unique, and under which credentials.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use ipnet::IpNet;

use super::client_ip::client_ip;
use super::jwt::{Signed, TokenVerifier};
use super::policy::{Policy, ScopePart};
use crate::fault::{Seeded, seeded};
use crate::idempotency::digest::{Digest, Hasher};
use crate::idempotency::{
    Caller, Scope, ScopeParts, Secret, TakenFrom, Verified, claim, in_cookies,
};
use crate::wire::{Code, Peer, Problem};

/// What names a key besides the request that has it.
pub(super) struct Around<'a> {
    /// Part of every record id.
    pub(super) service: &'a str,
    /// Under which what is stored is hashed.
    pub(super) secret: &'a Secret,
    /// Verifies tokens.
    pub(super) jwt: Option<&'a TokenVerifier>,
    /// Who is at the other end of the connection, if that is known.
    pub(super) peer: Option<&'a Peer>,
    /// Whose word on the client's address is believed.
    pub(super) trust_forwarded: &'a [IpNet],
    /// Who is told of the parts of the scope.
    pub(super) told: Option<&'a mut ScopeParts>,
}

/// Within what a key is unique.
pub(super) struct Within<'a> {
    pub(super) scope: Scope<'a>,
    /// Digest of the credentials: of those that name the caller, else of all that came.
    pub(super) credentials: Option<Digest>,
    /// Whether they name the caller.
    pub(super) named: bool,
    /// What the caller was taken from, where the scope names the caller.
    pub(super) caller: Option<TakenFrom>,
    /// Whether those were verified, as far as the scope asked.
    pub(super) verified: Verified,
    /// Whether cookies came, and nothing in the scope tells their users apart.
    pub(super) cookies_only: bool,
}

/// Within what the key of a request is unique.
pub(super) fn scope<'a>(
    request: &Parts,
    policy: &Policy,
    around: Around<'a>,
) -> Result<Within<'a>, Problem> {
    let headers = &request.headers;
    let has = |is: fn(&ScopePart) -> bool| policy.scope.iter().any(is);
    let has_claims = has(|part| matches!(part, ScopePart::Jwt(_)));
    let authorization = if has_claims || has(|part| *part == ScopePart::Caller) {
        authorization(headers)?
    } else {
        None
    };
    let caller = Caller::from_authorization(authorization);
    let signed = match (authorization, around.jwt) {
        (Some(value), Some(jwt)) if has_claims => jwt.signed(value),
        _ => None,
    };
    let mut told_apart = caller.credentials.is_some();
    let mut scope = Scope::telling(around.service, around.told);
    // In a fixed order, so that the order in the configuration names no other record.
    let mut parts = Cow::Borrowed(&*policy.scope);
    if !parts.is_sorted_by(|one, other| one.place() <= other.place()) {
        let order = |one: &ScopePart, other: &ScopePart| one.place().cmp(&other.place());
        parts.to_mut().sort_by(order);
    }
    for part in &*parts {
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
                told_apart |= value.is_some() && *name == AUTHORIZATION;
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
                // An expired token too: its request is no other than before.
                let claim = signed.as_ref().and_then(|signed| signed.claims.get(name));
                scope.with(&part.to_string(), &claim::scoped(authorization, claim));
            }
            ScopePart::ClientIp => {
                let address = around
                    .peer
                    .map(|peer| client_ip(peer, headers, around.trust_forwarded));
                let text = address.map(|address| address.to_string());
                scope.with_optional("client-ip", text.as_ref().map(String::as_bytes));
            }
        }
    }
    Ok(Within {
        scope,
        credentials: caller.credentials.or_else(|| carried(headers)),
        named: caller.credentials.is_some(),
        caller: has(|part| *part == ScopePart::Caller).then_some(caller.taken_from),
        verified: match (has_claims, signed) {
            (false, _) => Verified::Untold,
            (true, signed) => holds(signed),
        },
        cookies_only: headers.contains_key(COOKIE) && !told_apart,
    })
}

/// Whether the credentials of a request can be verified.
pub(super) fn verified(headers: &HeaderMap, jwt: Option<&TokenVerifier>) -> Verified {
    holds(match (authorization(headers), jwt) {
        (Ok(Some(value)), Some(jwt)) => jwt.signed(value),
        _ => None,
    })
}

fn holds(signed: Option<Signed>) -> Verified {
    match signed {
        Some(signed) if signed.is_timely => Verified::Yes,
        _ => Verified::No,
    }
}

/// Digest of the headers by which an upstream may tell users apart where the scope does not.
fn carried(headers: &HeaderMap) -> Option<Digest> {
    // Most heads have none of them, and to look for each would take more than to go over all of them once.
    if !headers
        .keys()
        .any(|name| CREDENTIALS.contains(&name.as_str()))
    {
        return None;
    }
    let mut carried = None;
    for name in CREDENTIALS {
        for value in headers.get_all(name) {
            let hasher = carried.get_or_insert_with(|| Hasher::new("carried"));
            hasher.part(name.as_bytes()).part(value.as_bytes());
        }
    }
    carried.map(Hasher::finish)
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

/// The headers that most APIs know their users by.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
];

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, Request};

    use crate::idempotency::Key;

    fn id(target: &str, scope: &[ScopePart], fields: &[(&str, &str)]) -> Result<String, Problem> {
        let mut request = Request::post(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let policy = Policy {
            scope: scope.to_vec(),
            ..Policy::default()
        };
        let around = Around {
            service: "tests",
            secret: &Secret::none(),
            jwt: None,
            peer: None,
            trust_forwarded: &[],
            told: None,
        };
        let within = super::scope(&head, &policy, around)?;
        let key = Key::bare(b"k", 255).unwrap();
        Ok(within.scope.record_id(&key).to_string())
    }

    fn tenant() -> ScopePart {
        ScopePart::Header(HeaderName::from_static("x-tenant"))
    }

    fn session() -> ScopePart {
        ScopePart::Cookie("sid".to_owned())
    }

    #[test]
    fn ids_are_the_same_in_every_release() {
        let default = [ScopePart::Method, ScopePart::Path, ScopePart::Caller];
        let of = |scope: &[ScopePart], fields: &[(&str, &str)]| {
            id("/orders?a=1", scope, fields).unwrap()
        };
        assert_eq!(of(&default, &[]), "1f7ceea05b4c0ffad6659f5d0bef8dab");
        assert_eq!(
            of(&default, &[("authorization", "Basic dTpw")]),
            "0a8b2dcb9f673d67fe4252f08bd7dd2b"
        );
        assert_eq!(
            of(
                &[ScopePart::Query, tenant(), session()],
                &[("x-tenant", "a")]
            ),
            "ea6207358ad210e767147a27840a2232"
        );
    }

    #[test]
    fn the_order_in_the_configuration_names_no_other_record() {
        let mut scope = vec![
            ScopePart::Method,
            ScopePart::Path,
            ScopePart::Caller,
            ScopePart::Query,
            tenant(),
            ScopePart::Header(HeaderName::from_static("x-unit")),
            session(),
            ScopePart::Jwt("org".to_owned()),
            ScopePart::Jwt("role".to_owned()),
            ScopePart::ClientIp,
        ];
        let fields = [("x-tenant", "a"), ("x-unit", "b"), ("cookie", "sid=1")];
        let first = id("/a?b", &scope, &fields).unwrap();
        for _ in 0..scope.len() {
            scope.rotate_left(1);
            assert_eq!(id("/a?b", &scope, &fields).unwrap(), first);
        }
        scope.reverse();
        assert_eq!(id("/a?b", &scope, &fields).unwrap(), first);
    }

    #[test]
    fn every_part_separates_and_an_absent_one_equals_no_value() {
        let distinct = |part: ScopePart, cases: &[(&str, &[(&str, &str)])]| {
            let ids: std::collections::HashSet<_> = cases
                .iter()
                .map(|(target, fields)| id(target, std::slice::from_ref(&part), fields).unwrap())
                .collect();
            assert_eq!(ids.len(), cases.len(), "{part}");
        };
        distinct(
            ScopePart::Query,
            &[("/a", &[]), ("/a?", &[]), ("/a?b", &[])],
        );
        distinct(
            tenant(),
            &[
                ("/", &[]),
                ("/", &[("x-tenant", "")]),
                ("/", &[("x-tenant", "a")]),
                ("/", &[("x-tenant", "A")]),
                ("/", &[("x-tenant", "absent")]),
            ],
        );
        distinct(
            session(),
            &[
                ("/", &[]),
                ("/", &[("cookie", "sid=")]),
                ("/", &[("cookie", "sid=1")]),
                ("/", &[("cookie", "a=2; sid=2")]),
            ],
        );
        // Without a verifier no claim counts, and each token is its own.
        distinct(
            ScopePart::Jwt("sub".to_owned()),
            &[
                ("/", &[]),
                ("/", &[("authorization", "Bearer a.e30.b")]),
                ("/", &[("authorization", "Bearer a.e30.c")]),
            ],
        );
    }

    #[test]
    fn credentials_are_told_apart_whatever_the_scope() {
        let of = |scope: &[ScopePart], fields: &[(&str, &str)]| {
            let mut request = Request::post("/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let policy = Policy {
                scope: scope.to_vec(),
                ..Policy::default()
            };
            let around = Around {
                service: "tests",
                secret: &Secret::none(),
                jwt: None,
                peer: None,
                trust_forwarded: &[],
                told: None,
            };
            let within = super::scope(&head, &policy, around).unwrap();
            (within.named, within.credentials)
        };
        let bare = [ScopePart::Path];
        let cases: [&[(&str, &str)]; 7] = [
            &[],
            &[("authorization", "a")],
            &[("authorization", "b")],
            &[("cookie", "a")],
            &[("cookie", "b")],
            &[("authorization", "a"), ("cookie", "a")],
            &[("x-api-key", "a")],
        ];
        let told: std::collections::HashSet<_> =
            cases.iter().map(|fields| of(&bare, fields)).collect();
        assert_eq!(told.len(), cases.len());
        assert!(told.iter().all(|(named, _)| !named));
        assert_eq!(of(&bare, &[]).1, None);
        // A caller without Authorization may still be somebody to the upstream.
        let caller = [ScopePart::Caller];
        assert_ne!(of(&caller, cases[3]), of(&caller, cases[4]));
        assert!(!of(&caller, cases[3]).0);
        // One with it is known by it alone: a cookie more is not another one.
        assert_eq!(of(&caller, cases[1]), of(&caller, cases[5]));
        assert!(of(&caller, cases[1]).0);
    }

    #[test]
    fn a_part_that_occurs_twice_is_refused() {
        let cases: [(ScopePart, &[(&str, &str)]); 5] = [
            (tenant(), &[("x-tenant", "a"), ("x-tenant", "a")]),
            (session(), &[("cookie", "sid=1; sid=1")]),
            (session(), &[("cookie", "sid=1"), ("cookie", "sid=2")]),
            (
                ScopePart::Caller,
                &[("authorization", "a"), ("authorization", "a")],
            ),
            (
                ScopePart::Jwt("sub".to_owned()),
                &[("authorization", "a"), ("authorization", "a")],
            ),
        ];
        for (part, fields) in cases {
            let refused = id("/", std::slice::from_ref(&part), fields).unwrap_err();
            assert_eq!(refused.code, Code::ScopeAmbiguous, "{part}");
            // Where it is no part of the scope it names nothing.
            id("/", &[ScopePart::Path], fields).unwrap();
        }
    }
}
