//! What a body is, by the `Content-Type` that goes with it.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Whether a body is JSON, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It says so.
    Json,
    /// Nothing is said: then JSON begins with a brace or a bracket.
    Unsaid,
    /// What clients say that do not care: the same.
    Perhaps,
    /// It says something else.
    Other,
}

impl Kind {
    /// By the headers of a message. Of several types, also in one line as an intermediary joins them, it is the one that looks
    /// closest.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kinds = essences(headers).map(|essence| {
            let essence = essence.to_ascii_lowercase();
            match essence.as_slice() {
                b"application/json" | b"text/json" => Self::Json,
                suffixed if suffixed.ends_with(b"+json") => Self::Json,
                b"text/plain"
                | b"application/x-www-form-urlencoded"
                | b"application/octet-stream" => Self::Perhaps,
                _ => Self::Other,
            }
        });
        kinds.min().unwrap_or(Self::Unsaid)
    }
}

/// Whether an answer is a stream of events, which has no end to wait for.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let lines = || headers.get_all(CONTENT_TYPE).iter();
    // Most types are shorter.
    lines().any(|line| line.len() >= EVENT_STREAM.len())
        && essences(headers).any(|essence| essence.eq_ignore_ascii_case(EVENT_STREAM))
}

/// The media types that are said, without their parameters.
fn essences(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(CONTENT_TYPE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|media_type| {
            let essence = media_type.split(|byte| *byte == b';').next();
            essence.unwrap_or_default().trim_ascii()
        })
        .filter(|essence| !essence.is_empty())
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, http::HeaderValue::from_static(value));
        }
        headers
    }

    fn kind(values: &[&'static str]) -> Kind {
        Kind::of(&headers(values))
    }

    #[test]
    fn a_body_is_json_where_its_type_says_so() {
        for json in [
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/merge-patch+json",
            "text/json",
            "application/json, application/json",
            "image/png, application/json;charset=utf-8",
        ] {
            assert_eq!(kind(&[json]), Kind::Json, "{json}");
        }
        for perhaps in [
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
        ] {
            assert_eq!(kind(&[perhaps]), Kind::Perhaps, "{perhaps}");
        }
        for other in ["multipart/form-data; boundary=x", "application/pdf,", "?"] {
            assert_eq!(kind(&[other]), Kind::Other, "{other}");
        }
        for unsaid in [&[][..], &[""], &[" , ;charset=utf-8"]] {
            assert_eq!(kind(unsaid), Kind::Unsaid, "{unsaid:?}");
        }
        assert_eq!(kind(&["image/png", "application/json"]), Kind::Json);
    }

    #[test]
    fn a_stream_of_events_says_that_it_is_one() {
        assert!(is_event_stream(&headers(&[
            "Text/Event-Stream; charset=utf-8"
        ])));
        assert!(!is_event_stream(&headers(&["text/event-streams"])));
    }
}
