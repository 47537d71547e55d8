//! Step one: what names the operation, and within what.

use http::header::{AUTHORIZATION, CONNECTION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::client_ip::X_FORWARDED_FOR;
use super::policy::{KeySource, Policy, ScopePart};
use super::scope::{Around, Within, scope};
use super::source;
use crate::idempotency::digest::Digest;
use crate::idempotency::{Key, RecordId, TakenFrom, Template, Verified};
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
    /// Digest of the credentials.
    pub(super) credentials: Option<Digest>,
    /// Whether the scope takes the caller from those.
    pub(super) named: bool,
    /// What the caller was taken from, where the scope names the caller.
    pub(super) caller: Option<TakenFrom>,
    /// Whether those were verified, as far as the scope asked.
    pub(super) verified: Verified,
    /// Whether cookies came, and nothing in the scope tells their users apart.
    pub(super) cookies_only: bool,
}

/// Builds the record id; nothing where there is no key and the route does not ask for one.
pub(super) fn extract(
    key: Option<Key>,
    request: &Parts,
    policy: &Policy,
    around: Around<'_>,
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
    let secret = around.secret;
    let Within {
        scope,
        credentials,
        named,
        caller,
        verified,
        cookies_only,
    } = scope(request, policy, around)?;
    Ok(Some(Keyed {
        id: secret.record_id(scope.record_id(&key)),
        key: secret.key(&key),
        text: key,
        credentials: credentials.map(|digest| secret.credentials(digest)),
        named,
        caller,
        verified,
        cookies_only,
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
        let part = |part: &ScopePart| match part {
            ScopePart::Header(name) => is(name),
            ScopePart::ClientIp => is(&X_FORWARDED_FOR),
            _ => false,
        };
        policy.key.iter().any(source)
            || policy.scope.iter().any(part)
            || is(&AUTHORIZATION)
            || is(&COOKIE)
    };
    if named.any(|option| guarded(option.trim_ascii())) {
        return Err(Problem::new(
            Code::BadRequest,
            "Connection names the header of the idempotency key, of its scope or of the caller's credentials",
        ));
    }
    Ok(())
}

/// Whether a segment is `.` or `..`, plain or percent-encoded (RFC 3986 5.2.4, 6.2.2.2).
pub(crate) fn has_dot_segment(path: &str) -> bool {
    // Most paths have nothing that would be one.
    memchr::memchr2(b'.', b'%', path.as_bytes()).is_some() && path.split('/').any(is_dot_segment)
}

fn is_dot_segment(segment: &str) -> bool {
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
            scope: vec![
                ScopePart::Header(HeaderName::from_static("x-tenant")),
                ScopePart::ClientIp,
            ],
            ..Policy::default()
        };
        for value in [
            "X-Key",
            "close, x-key",
            "keep-alive ,Authorization",
            "cookie",
            "X-Tenant",
            "x-forwarded-for",
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
