//! The body of a write: JSON, an object, and of that only what is known.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;

use super::answer::Refusal;
use crate::idempotency::json::Json;
use crate::wire::BoxError;

/// The members of an object, each of which is to be taken. One that is `null` counts as absent.
#[derive(Debug)]
pub(super) struct Fields {
    /// What stands before their names in faults: nothing, or the name of the object and a dot.
    within: &'static str,
    members: Vec<(String, Json)>,
}

impl Fields {
    /// Reads a body; an empty one has no fields.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Self::of("", "the body", Json::Object(Vec::new()));
        }
        let json = Json::parse(body).map_err(|error| Refusal::bad(format!("the body: {error}")))?;
        Self::of("", "the body", json)
    }

    fn of(within: &'static str, name: &str, json: Json) -> Result<Self, Refusal> {
        match json {
            Json::Object(members) => Ok(Self { within, members }),
            _ => Err(Refusal::bad(format!("{name}: expected a JSON object"))),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.fault(name, "true or false")),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.fault(name, "a text")),
        }
    }

    /// An object within this one; `within` is its name and a dot.
    pub(super) fn fields(
        &mut self,
        name: &str,
        within: &'static str,
    ) -> Result<Option<Self>, Refusal> {
        let full = format!("{}{name}", self.within);
        let object = self.take(name).map(|json| Self::of(within, &full, json));
        object.transpose()
    }

    /// Whatever it is.
    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.members.iter().position(|(there, _)| there == name)?;
        let (_, json) = self.members.swap_remove(at);
        (json != Json::Null).then_some(json)
    }

    /// All of them, of an object that has names of its own.
    pub(super) fn into_members(self) -> Vec<(String, Json)> {
        self.members
    }

    /// Nothing else is there; `known` are the names that were looked for.
    pub(super) fn end(self, known: &str) -> Result<(), Refusal> {
        let Some((name, _)) = self.members.first() else {
            return Ok(());
        };
        let name = printable(name);
        Err(Refusal::bad(format!(
            "{}{name}: expected no such field; there are {known}",
            self.within
        )))
    }

    pub(super) fn fault(&self, name: &str, expected: &str) -> Refusal {
        Refusal::bad(format!("{}{name}: expected {expected}", self.within))
    }
}

/// The body of a write, of at most `max` bytes. Only JSON, or nothing of no type: a page of another origin cannot send that without being
/// asked first, nor can a form.
pub(super) async fn collected<B>(headers: &HeaderMap, body: B, max: u64) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut types = headers.get_all(CONTENT_TYPE).iter().peekable();
    let fits = match types.peek() {
        Some(_) => types.all(is_json),
        None => body.is_end_stream(),
    };
    if !fits {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json, or no body",
        ));
    }
    let body = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX)).collect();
    match tokio::time::timeout(TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("expected at most {max} bytes"),
        )),
        Ok(Err(_)) => Err(Refusal::bad("the body broke off")),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
        )),
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let essence = value.as_bytes().split(|byte| *byte == b';').next();
    essence.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}

/// A name that somebody else made up, for people.
pub(super) fn printable(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    name.escape_debug().to_string()
}

/// How long a body may take to come.
const TIMEOUT: Duration = Duration::from_secs(30);
