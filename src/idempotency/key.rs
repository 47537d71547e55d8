//! What the client sends to name one operation.

use std::fmt;

use super::digest::Hasher;
use super::fingerprint::Fingerprint;

/// An idempotency key: printable ASCII, not empty, within the route's length.
///
/// It never shows in a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// Why a value cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing, or nothing within the quotes.
    #[error("is empty")]
    Empty,
    /// Longer than the route allows, characters.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// A byte outside of printable ASCII.
    #[error("holds a character that is not printable ASCII")]
    NotPrintable,
    /// Begins as a structured-field string, and is none.
    #[error("begins with a quote and is not a well-formed structured-field string")]
    BadString,
}

impl Key {
    /// Reads the value of a key header: an RFC 9651 string (draft-ietf-httpapi-idempotency-key-header-07, parameters
    /// allowed and ignored), or the bare text in use in the wild. `"abc"` and `abc` are the same key.
    ///
    /// # Errors
    ///
    /// What is wrong with the value; never the value.
    pub fn from_header(value: &[u8], max_length: usize) -> Result<Self, KeyError> {
        let value = value.trim_ascii();
        if value.first() == Some(&b'"') {
            Self::checked(unquote(value)?, max_length)
        } else {
            Self::bare(value, max_length)
        }
    }

    /// Takes the text as it stands.
    ///
    /// # Errors
    ///
    /// What is wrong with the value; never the value.
    pub fn bare(value: &[u8], max_length: usize) -> Result<Self, KeyError> {
        match std::str::from_utf8(value) {
            Ok(text) => Self::checked(text.to_owned(), max_length),
            Err(_) => Err(KeyError::NotPrintable),
        }
    }

    /// The key of a request whose client sends none: what the request is.
    pub fn of_content(fingerprint: &Fingerprint) -> Self {
        let mut parts: Vec<_> = fingerprint.parts().collect();
        // So that the order in the configuration makes no other key.
        parts.sort_by_key(|part| part.name);
        let mut hasher = Hasher::new("content key");
        for part in parts {
            hasher.part(part.name.as_bytes()).part(&part.digest);
        }
        Self(format!(
            "content:{:032x}",
            u128::from_be_bytes(hasher.finish())
        ))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn checked(text: String, max_length: usize) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        // To the end in any case: nearly every key is printable, and without a way out between, many bytes are looked at in one step.
        let printable = |so_far, byte| so_far & (0x20..=0x7e).contains(&byte);
        if !text.bytes().fold(true, printable) {
            return Err(KeyError::NotPrintable);
        }
        if text.len() > max_length {
            return Err(KeyError::TooLong(max_length));
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn unquote(value: &[u8]) -> Result<String, KeyError> {
    if !value.is_ascii() {
        return Err(KeyError::NotPrintable);
    }
    // The common case, without escapes or parameters, needs no parser.
    if let [b'"', inner @ .., b'"'] = value
        && inner
            .iter()
            .all(|byte| (0x20..=0x7e).contains(byte) && *byte != b'"' && *byte != b'\\')
    {
        return Ok(String::from_utf8_lossy(inner).into_owned());
    }
    let item: sfv::Item = sfv::Parser::new(value)
        .parse()
        .map_err(|_| KeyError::BadString)?;
    match item.bare_item {
        sfv::BareItem::String(text) => Ok(text.as_str().to_owned()),
        _ => Err(KeyError::BadString),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Result<String, KeyError> {
        Key::from_header(value.as_bytes(), 255).map(|key| key.0)
    }

    #[test]
    fn quoted_and_bare_are_the_same_key() {
        for value in ["abc", "\"abc\"", "  abc ", "\"abc\";v=1"] {
            assert_eq!(read(value).as_deref(), Ok("abc"), "{value}");
        }
    }

    #[test]
    fn a_quoted_uuid_is_its_bare_self() {
        let uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";
        assert_eq!(read(&format!("\"{uuid}\"")).as_deref(), Ok(uuid));
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(read(r#""a\"b\\c""#).as_deref(), Ok(r#"a"b\c"#));
    }

    #[test]
    fn what_cannot_be_a_key_is_named() {
        assert_eq!(read(""), Err(KeyError::Empty));
        assert_eq!(read("\"\""), Err(KeyError::Empty));
        assert_eq!(read("\"abc"), Err(KeyError::BadString));
        assert_eq!(read("\"a\"b"), Err(KeyError::BadString));
        assert_eq!(read("\"a\",\"b\""), Err(KeyError::BadString));
        assert_eq!(read("ключ"), Err(KeyError::NotPrintable));
        assert_eq!(
            Key::from_header(b"a\tb", 255).err(),
            Some(KeyError::NotPrintable)
        );
        assert_eq!(
            Key::from_header(b"caf\xe9", 255).err(),
            Some(KeyError::NotPrintable)
        );
    }

    #[test]
    fn the_length_is_that_of_the_key_without_its_quotes() {
        let key = "k".repeat(255);
        assert!(read(&key).is_ok());
        assert!(read(&format!("\"{key}\"")).is_ok());
        assert_eq!(read(&format!("{key}k")), Err(KeyError::TooLong(255)));
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = Key::from_header(b"secret", 255).unwrap();
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn content_that_is_alike_has_one_key_whatever_the_order_of_its_parts() {
        let key = |parts: &[(&'static str, &str)]| {
            let mut fingerprint = Fingerprint::default();
            for (name, value) in parts {
                fingerprint.add(name, value.as_bytes());
            }
            Key::of_content(&fingerprint).0
        };
        let first = key(&[("path", "/a"), ("body", "x")]);
        assert_eq!(first, key(&[("body", "x"), ("path", "/a")]));
        assert_ne!(first, key(&[("path", "/a"), ("body", "y")]));
        assert_ne!(first, key(&[("body", "x")]));
        assert!(first.len() < 255);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_key_or_an_error(value: Vec<u8>) {
            let _ = Key::from_header(&value, 255);
        }

        #[test]
        fn quoted_strings_read_as_the_strict_parser_reads_them(text in "[ -~]{1,40}") {
            let quoted = format!("\"{text}\"");
            let strict = sfv::Parser::new(&quoted).parse::<sfv::Item>().ok()
                .and_then(|item| item.bare_item.as_string().map(|s| s.as_str().to_owned()))
                .filter(|text| !text.is_empty());
            prop_assert_eq!(read(&quoted).ok(), strict);
        }
    }
}
