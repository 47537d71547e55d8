//! The names of the headers that the proxy adds.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The names of the headers that the proxy adds, as far as the operator chooses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderNames {
    /// On stored answers: `true`.
    pub replay: HeaderName,
    /// On first answers: whether they are kept.
    pub stored: HeaderName,
}

/// The record id.
pub const ID: HeaderName = HeaderName::from_static("x-idempotency-id");
/// The state of the record.
pub const STATE: HeaderName = HeaderName::from_static("x-idempotency-state");
/// When a stored answer is forgotten.
pub const EXPIRES: HeaderName = HeaderName::from_static("x-idempotency-expires");
/// Why the proxy answered itself.
pub const ERROR: HeaderName = HeaderName::from_static("x-idempotency-error");
/// To the upstream: how often a request is carried out, counting this one.
pub const ATTEMPT: HeaderName = HeaderName::from_static("x-idempotency-attempt");

impl HeaderNames {
    /// Whether the upstream's headers of this name are replaced. Those of the default names are in any case: records and clients
    /// may be older than the operator's choice.
    pub fn is_ours(&self, name: &HeaderName) -> bool {
        // Most names are told by their beginning.
        let fixed = name.as_str().starts_with(PREFIX) && FIXED.contains(name);
        fixed || [&self.replay, &self.stored].contains(&name)
    }

    /// Takes whatever has one of these names out.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if headers.keys().any(|name| self.is_ours(name)) {
            for name in [&self.replay, &self.stored].into_iter().chain(&FIXED) {
                headers.remove(name);
            }
        }
    }

    /// What a page of another origin may read beside what every page may, for `Access-Control-Expose-Headers`.
    pub(super) fn exposed(&self) -> HeaderValue {
        let names = [
            &self.replay,
            &self.stored,
            &ID,
            &STATE,
            &EXPIRES,
            &ERROR,
            &RETRY_AFTER,
        ];
        let names = names.map(HeaderName::as_str).join(", ");
        HeaderValue::try_from(names).expect("header names are header values too")
    }
}

impl Default for HeaderNames {
    fn default() -> Self {
        Self {
            replay: REPLAY,
            stored: STORED,
        }
    }
}

const REPLAY: HeaderName = HeaderName::from_static("x-idempotency-replay");
const STORED: HeaderName = HeaderName::from_static("x-idempotency-stored");
const PREFIX: &str = "x-idempotency-";
static FIXED: [HeaderName; 6] = [REPLAY, STORED, ID, STATE, EXPIRES, ERROR];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_told_by_their_beginning() {
        let names = HeaderNames::default();
        for name in &FIXED {
            assert!(name.as_str().starts_with(PREFIX) && names.is_ours(name));
        }
        assert!(!names.is_ours(&ATTEMPT) && !names.is_ours(&RETRY_AFTER));
    }
}
