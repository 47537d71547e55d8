//! A request, and what it should be answered.

use bytes::Bytes;
use serde::Deserialize;

use super::client::{Answer, Body, chunked, whole};

/// What a client asks for, as often as it wants.
#[derive(Clone)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    key: Option<String>,
    pub(crate) body: Bytes,
    chunked: bool,
}

/// What an answer should be.
pub(crate) enum Expected<'a> {
    /// The upstream's, of which the proxy keeps nothing.
    Passed(u16),
    /// The first one for a key, which is kept.
    Kept(u16),
    /// The first one for a key, which is not kept.
    NotKept(u16),
    /// This one again.
    Replay(&'a Answer),
    /// The proxy's own, with this code.
    Refused(u16, &'static str),
}

impl Request {
    /// One without a key, with a body of this length.
    pub(crate) fn new(method: &'static str, path: &str, length: usize) -> Self {
        Self {
            method,
            path: path.to_owned(),
            key: None,
            body: content(length),
            chunked: false,
        }
    }

    /// The same with this key.
    pub(crate) fn with_key(mut self, key: String) -> Self {
        self.key = Some(key);
        self
    }

    /// The same without the length of its body.
    pub(crate) fn in_chunks(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// As it is sent to this host, with what clients send beside it.
    pub(crate) fn to(&self, origin: &str) -> http::Result<http::Request<Body>> {
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(format!("{origin}{}", self.path))
            .header("User-Agent", "shop/4.2 (Linux; x86_64)")
            .header("Accept", "application/json")
            .header("Accept-Encoding", "gzip, deflate, br")
            .header("Authorization", "Bearer 6d1f0c2e9b7a4f35a8d4c3b2e1f00918");
        if !self.body.is_empty() {
            request = request.header("Content-Type", "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header("Idempotency-Key", key);
        }
        request.body(match self.chunked {
            false => whole(self.body.clone()),
            true => chunked(self.body.clone()),
        })
    }

    /// Whether it was answered as it should be.
    pub(crate) fn check(&self, answer: &Answer, expected: Expected<'_>) -> Result<(), String> {
        let from_upstream = |status| answer.status == status && self.is_answered_by(&answer.body);
        let stored = answer.header("x-idempotency-stored");
        let held = match expected {
            Expected::Passed(status) => from_upstream(status) && stored.is_empty(),
            Expected::Kept(status) => from_upstream(status) && stored == "true",
            Expected::NotKept(status) => from_upstream(status) && stored == "false",
            Expected::Replay(first) => {
                answer.is_replay() && answer.status == first.status && answer.body == first.body
            }
            Expected::Refused(status, code) => {
                answer.status == status && answer.header("x-idempotency-error") == code
            }
        };
        match held {
            true => Ok(()),
            false => Err(format!("{} {}: {answer}", self.method, self.path)),
        }
    }

    /// Whether the upstream had the whole request, and this is its whole answer.
    fn is_answered_by(&self, body: &[u8]) -> bool {
        let mut segments = self.path.split('/').skip(1);
        match (segments.next(), segments.next()) {
            (Some("files" | "streams"), Some(length)) => length == body.len().to_string(),
            _ => {
                let answer: Option<Received> = serde_json::from_slice(body).ok();
                answer.is_some_and(|answer| answer.received == self.body.len())
            }
        }
    }
}

/// What the upstream says of a request.
#[derive(Deserialize)]
struct Received {
    received: usize,
}

/// JSON of about this length, and of none where it is 0.
pub(crate) fn content(length: usize) -> Bytes {
    const START: &str = r#"{"amount":1999,"currency":"eur","note":""#;
    match length {
        0 => Bytes::new(),
        _ => {
            let note = "d".repeat(length.saturating_sub(START.len() + 2));
            format!(r#"{START}{note}"}}"#).into()
        }
    }
}
