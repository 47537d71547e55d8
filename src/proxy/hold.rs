//! How much of a body is held in memory before anything else is done.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::policy::{FingerprintPart, Policy};

/// How much of a body is held in memory before anything else is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing more than was read: there is nothing to find in it.
    Nothing,
    /// All of it up to `max_buffered_request`; a larger one is streamed.
    Small,
    /// All of it; a larger one is refused.
    All,
}

/// How much of a body is held, by what it turns out to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    /// What it is said to be.
    pub(super) kind: Kind,
    /// If it is JSON.
    pub(super) json: Hold,
    /// If not.
    pub(super) other: Hold,
}

impl Holding {
    /// Of a request whose key is known.
    pub(super) fn keyed(policy: &Policy) -> Self {
        let hold = if policy.fingerprint.contains(&FingerprintPart::JsonBody) {
            Hold::All
        } else {
            Hold::Small
        };
        Self {
            // All the same.
            kind: Kind::Perhaps,
            json: hold,
            other: hold,
        }
    }

    /// As far as it can be told of a body that begins with `ahead`.
    pub(super) fn of(&self, ahead: &[u8]) -> Option<Hold> {
        let first = ahead.iter().find(|byte| !byte.is_ascii_whitespace());
        match (self.kind, first) {
            _ if self.json == self.other => Some(self.json),
            (Kind::Json, _) | (Kind::Perhaps, Some(b'{' | b'[')) => Some(self.json),
            (Kind::Perhaps, None) => None,
            (Kind::Other, _) | (Kind::Perhaps, Some(_)) => Some(self.other),
        }
    }
}

/// Whether a body is JSON, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It says so.
    Json,
    /// Nothing, or what clients say that do not care: then JSON begins with a brace or a bracket.
    Perhaps,
    /// It says something else.
    Other,
}

impl Kind {
    /// By the headers of a request.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kinds = headers.get_all(CONTENT_TYPE).iter().map(|value| {
            let essence = value.as_bytes().split(|byte| *byte == b';').next();
            let essence = essence
                .unwrap_or_default()
                .trim_ascii()
                .to_ascii_lowercase();
            match essence.as_slice() {
                b"application/json" | b"text/json" => Self::Json,
                suffixed if suffixed.ends_with(b"+json") => Self::Json,
                b"" | b"text/plain" | b"application/x-www-form-urlencoded" => Self::Perhaps,
                _ => Self::Other,
            }
        });
        kinds
            // Of several the one that looks closest.
            .min_by_key(|kind| match kind {
                Self::Json => 0,
                Self::Perhaps => 1,
                Self::Other => 2,
            })
            .unwrap_or(Self::Perhaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(values: &[&'static str]) -> Kind {
        let fields = values
            .iter()
            .map(|value| (CONTENT_TYPE, http::HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| {
            headers.append(name, value);
        });
        Kind::of(&headers)
    }

    #[test]
    fn a_body_is_json_where_its_type_says_so() {
        for json in [
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/merge-patch+json",
            "text/json",
        ] {
            assert_eq!(kind(&[json]), Kind::Json, "{json}");
        }
        for perhaps in [
            "text/plain;charset=UTF-8",
            "",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(kind(&[perhaps]), Kind::Perhaps, "{perhaps}");
        }
        for other in [
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "?",
        ] {
            assert_eq!(kind(&[other]), Kind::Other, "{other}");
        }
        assert_eq!(kind(&[]), Kind::Perhaps);
        assert_eq!(kind(&["image/png", "application/json"]), Kind::Json);
    }

    #[test]
    fn where_the_type_says_nothing_the_first_character_does() {
        let of = |kind, ahead: &str| {
            let (json, other) = (Hold::All, Hold::Nothing);
            Holding { kind, json, other }.of(ahead.as_bytes())
        };
        let perhaps = |ahead| of(Kind::Perhaps, ahead);
        assert_eq!(perhaps(""), None);
        assert_eq!(perhaps(" \r\n"), None);
        assert_eq!(perhaps(" {"), Some(Hold::All));
        assert_eq!(perhaps("["), Some(Hold::All));
        assert_eq!(perhaps("a={}"), Some(Hold::Nothing));
        assert_eq!(of(Kind::Json, "a"), Some(Hold::All));
        assert_eq!(of(Kind::Other, "{"), Some(Hold::Nothing));
        let keyed = Holding::keyed(&Policy::default());
        assert_eq!(keyed.of(b""), Some(Hold::Small));
    }
}
