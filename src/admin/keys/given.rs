//! The answer that an operator gives for one that was lost.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::admin::answer::Refusal;
use crate::idempotency::StoredResponse;

/// The answer that an operator gives, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// One line of a header, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl Given {
    /// As it is stored, if its body is at most `max` bytes.
    pub(super) fn checked(self, max: u64) -> Result<StoredResponse, Refusal> {
        if !(200..=599).contains(&self.status) {
            return Err(bad("status", "a number from 200 to 599"));
        }
        let body: Bytes = match (self.body, self.body_base64) {
            (Some(_), Some(_)) => {
                return Err(bad("body_base64", "body or body_base64, not both"));
            }
            (Some(text), None) => text.into(),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map_err(|_| bad("body_base64", "base64, with padding"))?
                .into(),
            (None, None) => Bytes::new(),
        };
        if body.len() as u64 > max {
            let expected = format!("at most {max} bytes, which is what a route keeps");
            return Err(bad("body", &expected));
        }
        if !body.is_empty() && [204, 205, 304].contains(&self.status) {
            return Err(bad("body", "none, which this status has not"));
        }
        let mut headers = Vec::new();
        for (name, values) in self.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| bad("headers", "names of headers"))?;
            if let Some((_, why)) = REFUSED
                .iter()
                .find(|(refused, _)| matches(refused, &header))
            {
                return Err(Refusal::bad(format!("response.headers: {header}: {why}")));
            }
            let values = match values {
                Values::One(value) => vec![value],
                Values::Several(values) => values,
            };
            for value in values {
                let value = HeaderValue::from_str(&value).map_err(|_| {
                    Refusal::bad(format!(
                        "response.headers: {header}: expected a header's value"
                    ))
                })?;
                let name = Bytes::copy_from_slice(header.as_str().as_bytes());
                headers.push((name, Bytes::copy_from_slice(value.as_bytes())));
            }
        }
        if headers.len() > HEADERS_MAX {
            return Err(bad("headers", &format!("at most {HEADERS_MAX} lines")));
        }
        Ok(StoredResponse {
            status: self.status,
            headers,
            body,
            trailers: Vec::new(),
        })
    }
}

/// A name that ends in `-` stands for all that begin with it.
fn matches(refused: &str, header: &HeaderName) -> bool {
    let name = header.as_str();
    name == refused || (refused.ends_with('-') && name.starts_with(refused))
}

fn bad(what: &str, expected: &str) -> Refusal {
    Refusal::bad(format!("response.{what}: expected {expected}"))
}

const HOP: &str = "belongs to a connection, and not to an answer";
const OURS: &str = "is the proxy's to set";

/// What no stored answer has.
const REFUSED: &[(&str, &str)] = &[
    ("connection", HOP),
    ("keep-alive", HOP),
    ("proxy-connection", HOP),
    ("te", HOP),
    ("trailer", HOP),
    ("transfer-encoding", HOP),
    ("upgrade", HOP),
    ("content-length", "is the proxy's to count"),
    ("date", OURS),
    ("x-idempotency-", OURS),
    ("set-cookie", "would be shown to every duplicate"),
];
const HEADERS_MAX: usize = 100;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<StoredResponse, String> {
        let given: Given = serde_json::from_value(json).map_err(|error| error.to_string())?;
        given
            .checked(5)
            .map_err(|refusal| refusal.detail.into_owned())
    }

    #[test]
    fn an_answer_is_stored_as_it_is_given() {
        let stored = read(serde_json::json!({
            "status": 201,
            "headers": {"Content-Type": "application/json", "link": ["<a>", "<b>"]},
            "body": "{\"ä",
        }))
        .unwrap();
        assert_eq!(stored.status, 201);
        assert_eq!(stored.body, "{\"ä");
        let line = |name: &'static str, value: &'static str| (name.into(), value.into());
        assert_eq!(
            stored.headers,
            [
                line("content-type", "application/json"),
                line("link", "<a>"),
                line("link", "<b>")
            ]
        );
        let stored = read(serde_json::json!({"status": 200, "body_base64": "AP8="})).unwrap();
        assert_eq!(stored.body, &[0, 255][..]);
        assert_eq!(read(serde_json::json!({"status": 204})).unwrap().body, "");
    }

    #[test]
    fn what_no_answer_can_be_is_refused_by_name() {
        for (json, why) in [
            (serde_json::json!({"status": 199}), "status"),
            (serde_json::json!({"status": 600}), "status"),
            (serde_json::json!({}), "status"),
            (serde_json::json!({"status": 200, "bdy": ""}), "bdy"),
            (serde_json::json!({"status": 204, "body": "x"}), "body"),
            (
                serde_json::json!({"status": 200, "body": "x", "body_base64": ""}),
                "not both",
            ),
            (
                serde_json::json!({"status": 200, "body_base64": "x"}),
                "base64",
            ),
            (
                serde_json::json!({"status": 200, "body": "123456"}),
                "at most 5",
            ),
            (
                serde_json::json!({"status": 200, "headers": {"a b": ""}}),
                "names",
            ),
            (
                serde_json::json!({"status": 200, "headers": {"a": "x\r\nb: c"}}),
                "a: expected",
            ),
            (
                serde_json::json!({"status": 200, "headers": {"Connection": "x"}}),
                "connection",
            ),
            (
                serde_json::json!({"status": 200, "headers": {"Content-Length": "1"}}),
                "content-length",
            ),
            (
                serde_json::json!({"status": 200, "headers": {"X-Idempotency-Id": "1"}}),
                "x-idempotency-id",
            ),
        ] {
            let fault = read(json.clone()).unwrap_err();
            assert!(fault.contains(why), "{json}: {fault}");
        }
    }
}
