//! Where a key comes from: the first source of the policy that yields one.

use http::header::COOKIE;
use http::request::Parts;

use super::hold::{Hold, Holding};
use super::media::Kind;
use super::payload::{self, Received};
use super::policy::{FingerprintPart, KeySource, Policy};
use crate::idempotency::json::{self, Json, JsonError, Pointer};
use crate::idempotency::{BadEscape, Key, KeyError, Secret, UnixMillis, in_cookies, in_query};
use crate::wire::{Code, Problem};

/// What was found.
#[derive(Debug)]
pub(super) enum Sought<'p> {
    /// The key, and where it was found.
    Key(Key, &'p KeySource),
    /// Nothing so far: the next source is in the body.
    InBody,
    /// No source yields one.
    Nothing,
}

/// What is there of the body.
#[derive(Clone, Copy)]
pub(super) enum BodySoFar<'a> {
    /// It was not read.
    Unread,
    /// All of it.
    Whole(&'a [u8]),
    /// It is not JSON, and not held.
    Foreign,
}

/// Looks for the key, source by source.
pub(super) fn find<'p>(
    request: &Parts,
    body: BodySoFar<'_>,
    policy: &'p Policy,
    now: impl Fn() -> UnixMillis,
) -> Result<Sought<'p>, Problem> {
    // Read at most once.
    let mut json = None;
    for source in &policy.key {
        let key = match source {
            KeySource::Header(name) => {
                let values = request.headers.get_all(name).iter();
                only(source, values)?.map(|value| {
                    Key::from_header(value.as_bytes(), policy.key_max_length).map_err(Bad::Key)
                })
            }
            KeySource::Query(name) => {
                let values = in_query(request.uri.query().unwrap_or_default(), name);
                only(source, values)?.map(|value| match value {
                    Ok(value) => bare(&value, policy),
                    Err(error) => Err(Bad::Escape(error)),
                })
            }
            KeySource::Cookie(name) => {
                let fields = request.headers.get_all(COOKIE).iter();
                let values = fields.flat_map(|field| in_cookies(field.as_bytes(), name));
                only(source, values)?.map(|value| bare(value, policy))
            }
            KeySource::Json(pointer) => match body {
                BodySoFar::Unread => return Ok(Sought::InBody),
                BodySoFar::Foreign => None,
                BodySoFar::Whole(bytes) => {
                    let json = json.get_or_insert_with(|| parse(request, bytes));
                    match json {
                        Ok(json) => json
                            .as_ref()
                            .and_then(|json| json.at(pointer))
                            .and_then(Json::text)
                            .map(|text| bare(text.as_bytes(), policy)),
                        Err(error) => return Err(unreadable(pointer, error)),
                    }
                }
            },
            KeySource::Content => {
                return match body {
                    BodySoFar::Unread => Ok(Sought::InBody),
                    BodySoFar::Foreign => Err(payload::Unheld::TooLargeToHold.problem()),
                    BodySoFar::Whole(bytes) => {
                        // Not what is stored: it becomes part of a record id like any other key.
                        let fingerprint =
                            payload::fingerprint_of_whole(request, policy, &Secret::none(), bytes);
                        Ok(Sought::Key(Key::of_content(&fingerprint), source))
                    }
                };
            }
        };
        let Some(key) = key else { continue };
        let invalid = |why: &dyn std::fmt::Display| {
            Problem::new(Code::KeyInvalid, format!("the key in {source} {why}"))
        };
        let key = key.map_err(|error| invalid(&error))?;
        policy
            .key_format
            .check(&key, &now, &policy.uuid7)
            .map_err(|error| invalid(&error))?;
        return Ok(Sought::Key(key, source));
    }
    Ok(Sought::Nothing)
}

/// How much of the body is held to find a key that is [`Sought::InBody`].
pub(super) fn holding(request: &Parts, policy: &Policy, now: impl Fn() -> UnixMillis) -> Holding {
    let other = if policy.key.contains(&KeySource::Content) {
        Hold::All
    } else {
        match find(request, BodySoFar::Foreign, policy, now) {
            Ok(Sought::Nothing) => Hold::Nothing,
            _ if policy.fingerprint.contains(&FingerprintPart::JsonBody) => Hold::All,
            _ => Hold::Small,
        }
    };
    Holding::new(Kind::of(&request.headers), Hold::All, other)
}

/// The answer to a request without a key that needs one.
pub(super) fn missing(policy: &Policy) -> Problem {
    let places: Vec<_> = policy.key.iter().map(KeySource::to_string).collect();
    Problem::new(
        Code::KeyMissing,
        format!(
            "this route requires an idempotency key in {}",
            places.join(" or ")
        ),
    )
}

impl<'a> BodySoFar<'a> {
    /// Of a body that was read for [`holding`].
    pub(super) fn of(received: &'a Received) -> Self {
        match received {
            Received::Whole { bytes, .. } => Self::Whole(bytes),
            Received::Streamed(_) | Received::Gone => Self::Foreign,
        }
    }
}

/// Why a value cannot be a key; never the value.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error(transparent)]
    Key(KeyError),
    #[error(transparent)]
    Escape(BadEscape),
}

/// The only value of a source, if there is one.
fn only<T>(source: &KeySource, mut values: impl Iterator<Item = T>) -> Result<Option<T>, Problem> {
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::new(
            Code::KeyInvalid,
            format!("{source} occurs twice"),
        ));
    }
    Ok(first)
}

fn bare(value: &[u8], policy: &Policy) -> Result<Key, Bad> {
    Key::bare(value, policy.key_max_length).map_err(Bad::Key)
}

/// A JSON body; nothing where it is none and does not say that it is. What does say so, if only by how it begins where nothing is said
/// of its type, and cannot be read, or could be read in two ways, is an error: it may have a key for the upstream, and must not run
/// without.
fn parse(request: &Parts, bytes: &[u8]) -> Result<Option<Json>, JsonError> {
    let kind = Kind::of(&request.headers);
    let text = json::unmarked(bytes);
    let Some(first) = text.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return Ok(None);
    };
    if kind == Kind::Other {
        return Ok(None);
    }
    let looks_like_it = kind == Kind::Unsaid && matches!(first, b'{' | b'[');
    match Json::parse(text) {
        Err(JsonError::Malformed(_)) if kind != Kind::Json && !looks_like_it => Ok(None),
        json => json.map(Some),
    }
}

fn unreadable(pointer: &Pointer, error: &JsonError) -> Problem {
    Problem::new(
        Code::KeyInvalid,
        format!("the body, which may have the key at {pointer}, cannot be read: {error}"),
    )
}
