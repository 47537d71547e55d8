//! The answer that an operator gives for one that was lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::admin::answer::Refusal;
use crate::admin::body::Fields;
use crate::idempotency::StoredResponse;
use crate::idempotency::json::Json;

/// Reads the answer that an operator gives, as it is stored, if its body is at most `max` bytes.
pub(super) fn given(mut fields: Fields, max: u64) -> Result<StoredResponse, Refusal> {
    let status = match fields.take("status") {
        Some(Json::Number(digits)) => digits.parse().ok(),
        _ => None,
    };
    let status = status
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| fields.fault("status", "a number from 200 to 599"))?;
    let body: Bytes = match (fields.text("body")?, fields.text("body_base64")?) {
        (Some(_), Some(_)) => {
            return Err(fields.fault("body_base64", "body or body_base64, not both"));
        }
        (Some(text), None) => text.into(),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|_| fields.fault("body_base64", "base64, with padding"))?
            .into(),
        (None, None) => Bytes::new(),
    };
    if body.len() as u64 > max {
        let expected = format!("at most {max} bytes, which is what a route keeps");
        return Err(fields.fault("body", &expected));
    }
    if !body.is_empty() && [204, 205, 304].contains(&status) {
        return Err(fields.fault("body", "none, which this status has not"));
    }
    let headers = match fields.fields("headers", "response.headers.")? {
        Some(lines) => lines_of(lines.into_members())?,
        None => Vec::new(),
    };
    fields.end("status, headers, body, body_base64")?;
    Ok(StoredResponse {
        status,
        headers: headers.into_iter().collect(),
        body,
        trailers: Default::default(),
    })
}

/// The lines of a header; each member has one, or several.
fn lines_of(members: Vec<(String, Json)>) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let mut lines = Vec::new();
    for (name, values) in members {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad("expected names of headers"))?;
        let refused = REFUSED
            .iter()
            .find(|(refused, _)| matches(refused, &header));
        if let Some((_, why)) = refused {
            return Err(bad(&format!("{header}: {why}")));
        }
        let values = match values {
            Json::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            let Json::String(value) = value else {
                return Err(bad(&format!(
                    "{header}: expected a text or a list of texts"
                )));
            };
            let value = HeaderValue::from_str(&value)
                .map_err(|_| bad(&format!("{header}: expected a header's value")))?;
            lines.push((header.clone(), value));
        }
    }
    if lines.len() > HEADERS_MAX {
        return Err(bad(&format!("expected at most {HEADERS_MAX} lines")));
    }
    Ok(lines)
}

/// A name that ends in `-` stands for all that begin with it.
fn matches(refused: &str, header: &HeaderName) -> bool {
    let name = header.as_str();
    name == refused || (refused.ends_with('-') && name.starts_with(refused))
}

fn bad(what: &str) -> Refusal {
    Refusal::bad(format!("response.headers: {what}"))
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
        let mut body = Fields::parse(format!("{{\"response\": {json}}}").as_bytes()).unwrap();
        let fields = body.fields("response", "response.").unwrap().unwrap();
        given(fields, 5).map_err(|refusal| refusal.detail.into_owned())
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
        let lines = [
            ("content-type", "application/json"),
            ("link", "<a>"),
            ("link", "<b>"),
        ];
        assert_eq!(stored.headers, lines.into_iter().collect());
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
