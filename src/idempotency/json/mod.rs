//! JSON bodies, as far as they matter to a key or a fingerprint: one [`Pointer`] into them, and one text for all that mean the same.
//!
//! Stricter than most readers, since two readers must not take one body in two ways: UTF-8 only, no duplicate names, no
//! lone surrogates, no comments, a bounded depth.

mod canonical;
mod number;
mod pointer;

use struson::reader::{
    JsonReader, JsonStreamReader, JsonSyntaxError, ReaderError, ReaderSettings, SyntaxErrorKind,
    ValueType,
};

pub use pointer::{BadPointer, Pointer};

/// A JSON value. A number is kept as it was written, since a 64-bit float would lose digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As it was written.
    Number(String),
    /// Without its escapes.
    String(String),
    /// In its order.
    Array(Vec<Json>),
    /// Its members, ordered by the UTF-16 units of their names; no name twice.
    Object(Vec<(String, Json)>),
}

/// The byte order mark of UTF-8, which some writers put first and a reader may skip (RFC 8259, section 8.1).
pub const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A text without the byte order mark that it may begin with.
pub fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(&MARK).unwrap_or(text)
}

/// Why a text is not taken for JSON. Says where, and quotes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON at all (RFC 8259).
    #[error("malformed JSON{0}")]
    Malformed(String),
    /// Readers differ in which of the two they take.
    #[error("a name occurs twice in one object")]
    DuplicateName,
    /// Nested deeper than [`Json::MAX_DEPTH`].
    #[error("nested deeper than {} levels", Json::MAX_DEPTH)]
    TooDeep,
    /// Its exponent is out of all bounds (beyond 32 bits).
    #[error("a number is out of all bounds")]
    Number,
}

impl Json {
    /// Levels of arrays and objects within one another.
    pub const MAX_DEPTH: u32 = 128;

    /// Reads one JSON text.
    ///
    /// # Errors
    ///
    /// See [`JsonError`].
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let settings = ReaderSettings {
            max_nesting_depth: Some(Self::MAX_DEPTH),
            track_path: false,
            // Refused here: its own bounds are narrower than those of a float.
            restrict_number_values: false,
            ..ReaderSettings::default()
        };
        let mut reader = JsonStreamReader::new_custom(text, settings);
        let value = read(&mut reader)?;
        reader.consume_trailing_whitespace()?;
        Ok(value)
    }

    /// The value that a pointer leads to.
    pub fn at(&self, pointer: &Pointer) -> Option<&Self> {
        pointer
            .tokens()
            .iter()
            .try_fold(self, |value, token| match value {
                Self::Array(items) => items.get(pointer::index(token)?),
                Self::Object(members) => members
                    .iter()
                    .find_map(|(name, value)| (name == token).then_some(value)),
                _ => None,
            })
    }

    /// Takes out what a pointer leads to, if it is there: a member of an object is gone, an item of an array becomes `null`, so that the
    /// others keep their places.
    pub fn remove(&mut self, pointer: &Pointer) {
        let Some((last, parents)) = pointer.tokens().split_last() else {
            *self = Self::Null;
            return;
        };
        let parent = parents.iter().try_fold(self, |value, token| match value {
            Self::Array(items) => items.get_mut(pointer::index(token)?),
            Self::Object(members) => members
                .iter_mut()
                .find_map(|(name, value)| (name == token).then_some(value)),
            _ => None,
        });
        match parent {
            Some(Self::Object(members)) => members.retain(|(name, _)| name != last),
            Some(Self::Array(items)) => {
                if let Some(item) = pointer::index(last).and_then(|index| items.get_mut(index)) {
                    *item = Self::Null;
                }
            }
            _ => {}
        }
    }

    /// The text of a scalar: a string, a number as it was written, `true` or `false`. Null, arrays and objects have none.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

fn read(reader: &mut JsonStreamReader<&[u8]>) -> Result<Json, JsonError> {
    Ok(match reader.peek()? {
        ValueType::Null => {
            reader.next_null()?;
            Json::Null
        }
        ValueType::Boolean => Json::Bool(reader.next_bool()?),
        ValueType::Number => {
            let literal = reader.next_number_as_string()?;
            if !number::is_bounded(&literal) {
                return Err(JsonError::Number);
            }
            Json::Number(literal)
        }
        ValueType::String => Json::String(reader.next_string()?),
        ValueType::Array => {
            reader.begin_array()?;
            let mut items = Vec::new();
            while reader.has_next()? {
                items.push(read(reader)?);
            }
            reader.end_array()?;
            Json::Array(items)
        }
        ValueType::Object => {
            reader.begin_object()?;
            let mut members = Vec::new();
            while reader.has_next()? {
                members.push((reader.next_name_owned()?, read(reader)?));
            }
            reader.end_object()?;
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(JsonError::DuplicateName);
            }
            Json::Object(members)
        }
    })
}

impl From<ReaderError> for JsonError {
    fn from(error: ReaderError) -> Self {
        match error {
            ReaderError::MaxNestingDepthExceeded { .. } => Self::TooDeep,
            ReaderError::SyntaxError(JsonSyntaxError { kind, location }) => {
                let what = match kind {
                    SyntaxErrorKind::TrailingData => ": more than one value",
                    SyntaxErrorKind::IncompleteDocument => ": it ends early",
                    _ => "",
                };
                let place = location
                    .line_pos
                    .map(|at| format!(" at line {}, column {}", at.line + 1, at.column + 1));
                Self::Malformed(format!("{what}{}", place.unwrap_or_default()))
            }
            _ => Self::Malformed(String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_two_readers_could_take_in_two_ways_is_refused() {
        for (text, why) in [
            (r#"{"a":1,"a":2}"#, JsonError::DuplicateName),
            (r#"[{"a":1,"\u0061":1}]"#, JsonError::DuplicateName),
            (&"[".repeat(129), JsonError::TooDeep),
            ("1e9999999999999999999999", JsonError::Number),
        ] {
            assert_eq!(Json::parse(text.as_bytes()), Err(why), "{text}");
        }
        let malformed: [&[u8]; 14] = [
            b"",
            b" ",
            b"{",
            b"[1,]",
            b"{\"a\":1,}",
            b"// c\n1",
            b"01",
            b"+1",
            b".5",
            b"NaN",
            b"1 2",
            b"\"\\ud800\"",
            b"\"\xff\"",
            b"\xef\xbb\xbf1",
        ];
        for text in malformed {
            let error = Json::parse(text).unwrap_err();
            assert!(
                matches!(error, JsonError::Malformed(_)),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn an_error_says_where_and_quotes_nothing() {
        let error = Json::parse(b"{\"secret\": sesame}")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("malformed JSON at line 1, column "),
            "{error}"
        );
        assert!(!error.contains("s\u{65}same"), "{error}");
    }

    #[test]
    fn a_pointer_leads_to_a_value_or_to_nothing() {
        let value = parsed(r#"{"a":{"b/c":[10,{"~":true}]},"":"e","n":null}"#);
        let at = |pointer: &str| value.at(&pointer.parse().unwrap()).and_then(Json::text);
        assert_eq!(at("/a/b~1c/0"), Some("10"));
        assert_eq!(at("/a/b~1c/1/~0"), Some("true"));
        assert_eq!(at("/"), Some("e"));
        for nothing in [
            "",
            "/n",
            "/a",
            "/a/b~1c/2",
            "/a/b~1c/-",
            "/a/b~1c/00",
            "/x",
            "/n/x",
        ] {
            assert_eq!(at(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_number_keeps_the_text_it_was_written_with() {
        assert_eq!(parsed("12.50").text(), Some("12.50"));
        assert_eq!(parsed("9007199254740993").text(), Some("9007199254740993"));
    }

    #[test]
    fn what_is_removed_leaves_the_rest_where_it_was() {
        let mut value = parsed(r#"{"at":1,"list":[1,2,3],"keep":{"at":2}}"#);
        for pointer in ["/at", "/list/1", "/list/9", "/keep/none", "/none/at"] {
            value.remove(&pointer.parse().unwrap());
        }
        assert_eq!(value, parsed(r#"{"list":[1,null,3],"keep":{"at":2}}"#));
        value.remove(&"".parse().unwrap());
        assert_eq!(value, Json::Null);
    }
}
