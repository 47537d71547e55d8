//! Step one: what names the operation, and within what.

use http::header::{AUTHORIZATION, CONNECTION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::policy::{KeySource, Policy, ScopePart};
use super::source;
use crate::fault::{Seeded, seeded};
use crate::idempotency::digest::{Digest, Hasher};
use crate::idempotency::{Caller, Key, RecordId, Scope, TakenFrom, Template};
use crate::wire::{Code, Problem};

/// What names the operation.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    /// Names the record.
    pub(super) id: RecordId,
    /// Digest of the key alone, for operators who know it.
    pub(super) key: Digest,
    /// The key itself, by which the upstream can be asked.
    pub(super) text: Key,
    /// Digest of the credentials, where the scope names the caller.
    pub(super) credentials: Option<Digest>,
    /// What the caller was taken from, where the scope names the caller.
    pub(super) caller: Option<TakenFrom>,
    /// Whether cookies came, and the scope has no caller to tell their users apart.
    pub(super) cookies_only: bool,
}

/// Builds the record id; nothing where there is no key and the route does not ask for one.
pub(super) fn extract(
    key: Option<Key>,
    request: &Parts,
    policy: &Policy,
    mut scope: Scope<'_>,
) -> Result<Option<Keyed>, Problem> {
    let Some(key) = key else {
        return if policy.key_required {
            Err(source::missing(policy))
        } else {
            Ok(None)
        };
    };
    if has_dot_segment(request.uri.path()) {
        return Err(Problem::new(
            Code::BadRequest,
            "the path has dot segments, which two readers resolve in two ways",
        ));
    }
    if policy.asks_by_key() && Template::leads_elsewhere(&key) {
        return Err(Problem::new(
            Code::KeyInvalid,
            "the key is a dot segment, by which the upstream cannot be asked",
        ));
    }
    let caller = caller(&request.headers, policy)?;
    // In a fixed order, so that the order in the configuration names no other record.
    if policy.scope.contains(&ScopePart::Method) {
        scope.with("method", request.method.as_str().as_bytes());
    }
    if policy.scope.contains(&ScopePart::Path) {
        scope.with("path", request.uri.path().as_bytes());
    }
    if let Some(caller) = &caller
        && !seeded(Seeded::CallerLeftOut)
    {
        scope.with("caller", &caller.identity);
    }
    let mut digest = Hasher::new("key");
    digest.part(key.as_str().as_bytes());
    Ok(Some(Keyed {
        id: scope.record_id(&key),
        key: digest.finish(),
        text: key,
        credentials: caller.and_then(|caller| caller.credentials),
        caller: caller.map(|caller| caller.taken_from),
        cookies_only: request.headers.contains_key(COOKIE)
            && caller.is_none_or(|c| c.credentials.is_none()),
    }))
}

/// Refuses a request whose `Connection` names a header that the guarantee or the caller's identity rests on: stripped, as
/// RFC 9110 7.6.1 asks, it would switch them off.
pub(super) fn check_connection(headers: &HeaderMap, policy: &Policy) -> Result<(), Problem> {
    let mut named = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let guarded = |option: &[u8]| {
        let is = |name: &HeaderName| option.eq_ignore_ascii_case(name.as_str().as_bytes());
        let source = |source: &KeySource| matches!(source, KeySource::Header(name) if is(name));
        policy.key.iter().any(source) || is(&AUTHORIZATION) || is(&COOKIE)
    };
    if named.any(|option| guarded(option.trim_ascii())) {
        return Err(Problem::new(
            Code::BadRequest,
            "Connection names the header of the idempotency key or of the caller's credentials",
        ));
    }
    Ok(())
}

fn caller(headers: &HeaderMap, policy: &Policy) -> Result<Option<Caller>, Problem> {
    if !policy.scope.contains(&ScopePart::Caller) {
        return Ok(None);
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::new(
            Code::ScopeAmbiguous,
            "the header Authorization, a part of the key's scope, occurs twice",
        ));
    }
    Ok(Some(Caller::from_authorization(
        value.map(|value| value.as_bytes()),
    )))
}

/// Whether a segment is `.` or `..`, plain or percent-encoded (RFC 3986 5.2.4, 6.2.2.2).
pub(crate) fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| {
        let mut rest = segment;
        let mut dots = 0;
        while !rest.is_empty() {
            let dot = rest
                .strip_prefix('.')
                .or_else(|| rest.strip_prefix("%2e"))
                .or_else(|| rest.strip_prefix("%2E"));
            match dot {
                Some(after) => rest = after,
                None => return false,
            }
            dots += 1;
        }
        dots == 1 || dots == 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_seen_in_any_spelling() {
        for path in ["/a/../b", "/a/./b", "/..", "/a/%2e%2E/b", "/a/.%2e", "/%2e"] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/", "/a.b/c", "/...", "/a/..b", "/.well-known/x", "/a/%2f"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn connection_may_not_name_what_the_guarantee_rests_on() {
        let policy = Policy {
            key: vec![KeySource::Header(HeaderName::from_static("x-key"))],
            ..Policy::default()
        };
        for value in [
            "X-Key",
            "close, x-key",
            "keep-alive ,Authorization",
            "cookie",
        ] {
            assert!(
                check_connection(&headers(&[("connection", value)]), &policy).is_err(),
                "{value}"
            );
        }
        assert!(
            check_connection(
                &headers(&[("connection", "close, x-key-2, upgrade")]),
                &policy
            )
            .is_ok()
        );
    }
}
