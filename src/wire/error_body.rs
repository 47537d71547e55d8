//! The operator's own shape for the bodies of the proxy's answers.

use std::str::FromStr;

use http::HeaderValue;
use serde_json::Value;

use super::Problem;

/// A body for every [`Problem`], and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// The body.
    pub template: Template,
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
}

impl ErrorBody {
    /// Whether it says that it is JSON.
    pub fn says_json(&self) -> bool {
        let essence = self
            .content_type
            .as_bytes()
            .split(|byte| *byte == b';')
            .next();
        let essence = essence
            .unwrap_or_default()
            .trim_ascii()
            .to_ascii_lowercase();
        essence.ends_with(b"/json") || essence.ends_with(b"+json")
    }
}

/// A text in which `{code}`, `{detail}`, `{status}` and `{id}` stand for what they say, each as it is written within a JSON string.
/// All other braces are the text's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A word in braces that is none of [`PLACEHOLDERS`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown placeholder {{{0}}}")]
pub struct UnknownPlaceholder(pub String);

/// What a template may name.
pub const PLACEHOLDERS: [&str; 4] = ["code", "detail", "status", "id"];

impl Template {
    /// The body for a problem. One without a record has an empty `{id}`.
    pub fn fill(&self, problem: &Problem) -> String {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Code => filled.push_str(problem.code.screaming()),
                Piece::Detail => filled.push_str(&escaped(&problem.detail)),
                Piece::Status => filled.push_str(problem.code.status().as_str()),
                Piece::Id => filled.push_str(&escaped(problem.id.as_deref().unwrap_or_default())),
            }
        }
        filled
    }

    /// What it is as JSON, whatever is filled in.
    ///
    /// # Errors
    ///
    /// What the parser says where it is none, also if only by what may be filled in.
    pub fn as_json(&self) -> Result<Value, serde_json::Error> {
        let code = super::Code::InProgress;
        let json = serde_json::from_str(&self.fill(&Problem::new(code, "")))?;
        serde_json::from_str::<Value>(&self.fill(&Problem::new(code, NASTY).with_id(NASTY)))?;
        Ok(json)
    }
}

/// Text as it is written within a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a string serialises");
    quoted[1..quoted.len() - 1].to_owned()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Code,
    Detail,
    Status,
    Id,
}

impl FromStr for Template {
    type Err = UnknownPlaceholder;

    fn from_str(template: &str) -> Result<Self, UnknownPlaceholder> {
        let mut pieces = Vec::new();
        let (mut text, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let in_word = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
            let length = after.bytes().take_while(in_word).count();
            let (word, close) = after.split_at(length);
            let Some(beyond) = close.strip_prefix('}').filter(|_| length > 0) else {
                text.push('{');
                rest = after;
                continue;
            };
            let piece = match word {
                "code" => Piece::Code,
                "detail" => Piece::Detail,
                "status" => Piece::Status,
                "id" => Piece::Id,
                other => return Err(UnknownPlaceholder(other.to_owned())),
            };
            pieces.extend([Piece::Text(std::mem::take(&mut text)), piece]);
            rest = beyond;
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Ok(Self(pieces))
    }
}

/// Ends strings, comments and lines wherever it is not escaped.
const NASTY: &str = "\"}],\\ \n\r\t\0\u{7f}\u{2028}</script>*/ 'é😀\\";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Code;

    const JSON: &str = r#"{"success":false,"status":{status},"error":{"code":"{code}","message":"{detail}","id":"{id}"},"x":[{},{ "code" : "{{code}}"}]}"#;

    proptest! {
        #[test]
        fn whatever_is_filled_in_json_comes_back_as_it_was(detail: String, id: String) {
            let template: Template = JSON.parse().unwrap();
            let problem = Problem::new(Code::InProgress, detail.clone()).with_id(id.clone());
            let value: Value = serde_json::from_str(&template.fill(&problem)).unwrap();
            prop_assert_eq!(value, serde_json::json!({
                "success": false,
                "status": 409,
                "error": {"code": "REQUEST_IN_PROGRESS", "message": detail, "id": id},
                "x": [{}, {"code": "{REQUEST_IN_PROGRESS}"}],
            }));
        }
    }

    #[test]
    fn braces_that_hold_no_word_are_the_texts_own() {
        let problem = Problem::new(Code::KeyReused, "{code}");
        for (template, filled) in [
            ("", ""),
            ("{", "{"),
            ("{}", "{}"),
            ("{code", "{code"),
            ("{ code }", "{ code }"),
            ("{Code} {id-x} {a1}", "{Code} {id-x} {a1}"),
            ("a{code}{status}b", "aKEY_REUSED422b"),
            ("{{detail}}", "{{code}}"),
            ("{\n{id}}", "{\n}"),
        ] {
            let parsed: Template = template.parse().unwrap();
            assert_eq!(parsed.fill(&problem), filled, "{template}");
        }
        assert_eq!(
            "{detial}".parse::<Template>(),
            Err(UnknownPlaceholder("detial".to_owned()))
        );
    }

    #[test]
    fn a_template_that_is_json_only_by_luck_is_none() {
        for template in [
            "{code}",
            r#"{"a":{detail}}"#,
            r#"{"a":1}{detail}"#,
            r#"{"id":{id}}"#,
            r#"{"a":"{code}""#,
        ] {
            let template: Template = template.parse().unwrap();
            assert!(template.as_json().is_err(), "{template:?}");
        }
        assert!(JSON.parse::<Template>().unwrap().as_json().is_ok());
    }
}
