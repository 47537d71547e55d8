//! What a key has to look like.

use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use uuid::{Uuid, Variant};

use super::key::Key;
use super::record::UnixMillis;

/// What a key has to look like. A format refuses keys and never changes one: a UUID in capitals is another key than the same in small
/// letters, so that a new format makes no record unfindable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// Anything that can be a key.
    Any,
    /// A UUID of any version, 8-4-4-4-12 in either case; neither the nil nor the max one, which many requests would share.
    Uuid,
    /// A version 4 UUID (RFC 9562, section 5.4).
    Uuid4,
    /// A version 7 UUID (section 5.7) whose timestamp is near enough.
    Uuid7,
    /// What a regular expression matches from end to end.
    Pattern(KeyPattern),
}

/// How far the timestamp of a version 7 UUID may lie from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid7Bounds {
    /// Ahead: for clients whose clocks are fast.
    pub max_future: Duration,
    /// Behind.
    pub max_age: Duration,
}

/// Why a key does not have its format; never the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not 8-4-4-4-12 hexadecimal digits.
    #[error("is not a UUID of the form 8-4-4-4-12")]
    NotUuid,
    /// All zeros or all ones.
    #[error("is the nil or the max UUID, which name nothing")]
    NamesNothing,
    /// Another version or variant.
    #[error("is not a version {0} UUID")]
    NotVersion(usize),
    /// Beyond [`Uuid7Bounds::max_future`].
    #[error("has a timestamp further ahead than uuid7_max_future")]
    TooNew,
    /// Beyond [`Uuid7Bounds::max_age`].
    #[error("has a timestamp further back than uuid7_max_age")]
    TooOld,
    /// The regular expression does not match all of it.
    #[error("does not have the form that this route asks for")]
    NotPattern,
}

impl KeyFormat {
    /// Whether `key` has this format. Only a format with bounds in time asks what time it is `now`.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn check(
        &self,
        key: &Key,
        now: impl FnOnce() -> UnixMillis,
        bounds: &Uuid7Bounds,
    ) -> Result<(), FormatError> {
        match self {
            Self::Any => Ok(()),
            Self::Uuid => {
                let uuid = parse(key)?;
                if uuid.is_nil() || uuid.is_max() {
                    return Err(FormatError::NamesNothing);
                }
                Ok(())
            }
            Self::Uuid4 => version(key, 4).map(|_| ()),
            Self::Uuid7 => {
                // The upper 48 bits.
                let stamp = UnixMillis((version(key, 7)?.as_u128() >> 80) as u64);
                let now = now();
                if stamp > now.after(bounds.max_future) {
                    return Err(FormatError::TooNew);
                }
                if stamp.after(bounds.max_age) < now {
                    return Err(FormatError::TooOld);
                }
                Ok(())
            }
            Self::Pattern(pattern) if pattern.regex.is_match(key.as_str().as_bytes()) => Ok(()),
            Self::Pattern(_) => Err(FormatError::NotPattern),
        }
    }
}

/// A regular expression for whole keys. Keys are ASCII, and so are its classes: `\d` is `[0-9]`.
#[derive(Clone, Debug)]
pub struct KeyPattern {
    text: String,
    regex: Regex,
}

/// Not a regular expression, or one that is too large. Says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPattern(String);

impl KeyPattern {
    /// Compiles `text`.
    ///
    /// # Errors
    ///
    /// See [`BadPattern`].
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .unicode(false)
                .size_limit(SIZE_MAX)
                .build()
                .map_err(|error| {
                    // The first lines show the pattern with a mark below it.
                    let text = error.to_string();
                    let last = text.lines().next_back().unwrap_or_default();
                    BadPattern(last.trim_start_matches("error: ").to_owned())
                })
        };
        if text.is_empty() {
            return Err(BadPattern("it is empty".to_owned()));
        }
        // First by itself: a stray parenthesis would end the group that anchors it.
        compile(text)?;
        Ok(Self {
            text: text.to_owned(),
            regex: compile(&format!(r"\A(?:{text})\z"))?,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for KeyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for KeyPattern {}

fn version(key: &Key, version: usize) -> Result<Uuid, FormatError> {
    let uuid = parse(key)?;
    if uuid.get_version_num() == version && uuid.get_variant() == Variant::RFC4122 {
        Ok(uuid)
    } else {
        Err(FormatError::NotVersion(version))
    }
}

fn parse(key: &Key) -> Result<Uuid, FormatError> {
    let text = key.as_str();
    // The parser knows other forms too, of other lengths.
    if text.len() != 36 {
        return Err(FormatError::NotUuid);
    }
    Uuid::try_parse(text).map_err(|_| FormatError::NotUuid)
}

/// Bytes of a compiled pattern.
const SIZE_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Uuid7Bounds = Uuid7Bounds {
        max_future: Duration::from_secs(60),
        max_age: Duration::from_secs(7 * 86_400),
    };
    const NOW: UnixMillis = UnixMillis(1_795_000_000_000);

    fn check(format: &KeyFormat, key: &str) -> Result<(), FormatError> {
        format.check(&Key::bare(key.as_bytes(), 4096).unwrap(), || NOW, &BOUNDS)
    }

    fn pattern(text: &str) -> KeyFormat {
        KeyFormat::Pattern(KeyPattern::new(text).unwrap())
    }

    /// A version 7 UUID of that time.
    fn uuid7(millis: u64) -> String {
        let stamp = u128::from(millis) << 80;
        Uuid::from_u128(stamp | 0x7abc_8abc_0123_4567_89ab).to_string()
    }

    #[test]
    fn a_uuid_is_its_canonical_text_in_either_case() {
        for good in [
            "9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5f",
            "9F7C2A1E-5F5E-4F0E-8D0E-0A1B2C3D4E5F",
        ] {
            assert_eq!(check(&KeyFormat::Uuid, good), Ok(()));
            assert_eq!(check(&KeyFormat::Uuid4, good), Ok(()));
            assert_eq!(
                check(&KeyFormat::Uuid7, good),
                Err(FormatError::NotVersion(7))
            );
        }
        for bad in [
            "9f7c2a1e5f5e4f0e8d0e0a1b2c3d4e5f",
            "{9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5f}",
            "urn:uuid:9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5f",
            "9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5g",
            "9f7c2a1e-5f5e4-f0e-8d0e-0a1b2c3d4e5f",
            " 9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5f",
            "abc",
        ] {
            assert_eq!(
                check(&KeyFormat::Uuid, bad),
                Err(FormatError::NotUuid),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_uuid_that_everybody_has_is_refused() {
        for bad in [Uuid::nil(), Uuid::max()] {
            let error = check(&KeyFormat::Uuid, &bad.to_string());
            assert_eq!(error, Err(FormatError::NamesNothing));
            assert!(check(&KeyFormat::Uuid4, &bad.to_string()).is_err());
            assert!(check(&KeyFormat::Uuid7, &bad.to_string()).is_err());
        }
    }

    #[test]
    fn a_version_without_its_variant_is_none() {
        // The variant of Microsoft's GUIDs.
        let odd = "9f7c2a1e-5f5e-4f0e-cd0e-0a1b2c3d4e5f";
        assert_eq!(check(&KeyFormat::Uuid, odd), Ok(()));
        assert_eq!(
            check(&KeyFormat::Uuid4, odd),
            Err(FormatError::NotVersion(4))
        );
    }

    #[test]
    fn the_bounds_of_a_timestamp_are_within() {
        let at = |millis| check(&KeyFormat::Uuid7, &uuid7(millis));
        let (future, age) = (60_000, 7 * 86_400_000);
        assert_eq!(at(NOW.0), Ok(()));
        assert_eq!(at(NOW.0 + future), Ok(()));
        assert_eq!(at(NOW.0 + future + 1), Err(FormatError::TooNew));
        assert_eq!(at(NOW.0 - age), Ok(()));
        assert_eq!(at(NOW.0 - age - 1), Err(FormatError::TooOld));
    }

    #[test]
    fn a_pattern_matches_the_whole_key_or_not_at_all() {
        let format = pattern("a|ab|[0-9]{3}");
        for good in ["a", "ab", "123"] {
            assert_eq!(check(&format, good), Ok(()), "{good}");
        }
        for bad in ["b", "aab", "1234", "a1", "abx", " a"] {
            assert_eq!(check(&format, bad), Err(FormatError::NotPattern), "{bad}");
        }
        assert_eq!(check(&pattern(r"ord_\d+\.."), "ord_17.x"), Ok(()));
        assert_eq!(check(&pattern(r"(?i)ord"), "ORD"), Ok(()));
        assert!(check(&pattern(r"$"), "ab").is_err());
    }

    #[test]
    fn a_pattern_that_is_none_says_why() {
        for (text, why) in [
            ("", "it is empty"),
            ("a)|(b", "unopened group"),
            ("(a", "unclosed group"),
            ("[z-a]", "invalid character class range"),
        ] {
            let error = KeyPattern::new(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(KeyPattern::new("(a{1000}){1000}").is_err());
    }

    proptest! {
        #[test]
        fn every_uuid_has_its_format_and_no_other(bits: u128, upper: bool) {
            let uuid = uuid::Builder::from_u128(bits);
            let show = |uuid: Uuid| {
                let text = uuid.to_string();
                if upper { text.to_uppercase() } else { text }
            };
            let four = show(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid());
            prop_assert_eq!(check(&KeyFormat::Uuid4, &four), Ok(()));
            prop_assert_eq!(check(&KeyFormat::Uuid, &four), Ok(()));
            prop_assert_eq!(check(&KeyFormat::Uuid7, &four), Err(FormatError::NotVersion(7)));
            prop_assert!(check(&KeyFormat::Uuid, &show(uuid.into_uuid())).is_ok() || bits == 0 || bits == u128::MAX);
        }

        #[test]
        fn a_timestamp_is_taken_exactly_within_its_bounds(
            stamp in 0_u64..1 << 48, now: u64, future in 0_u64..1 << 50, age in 0_u64..1 << 50,
        ) {
            let bounds = Uuid7Bounds {
                max_future: Duration::from_millis(future),
                max_age: Duration::from_millis(age),
            };
            let key = Key::bare(uuid7(stamp).as_bytes(), 255).unwrap();
            let (at, here) = (i128::from(stamp), i128::from(now));
            let expected = if at > here + i128::from(future) {
                Err(FormatError::TooNew)
            } else if at < here - i128::from(age) {
                Err(FormatError::TooOld)
            } else {
                Ok(())
            };
            prop_assert_eq!(KeyFormat::Uuid7.check(&key, || UnixMillis(now), &bounds), expected);
        }

        #[test]
        fn any_key_has_a_format_or_an_error(text in "[ -~]{1,60}") {
            for format in [KeyFormat::Any, KeyFormat::Uuid, KeyFormat::Uuid4, KeyFormat::Uuid7, pattern("[a-z]+")] {
                let _ = check(&format, &text);
            }
            prop_assert_eq!(check(&pattern("[a-z]+"), &text).is_ok(), text.bytes().all(|b| b.is_ascii_lowercase()));
        }

        #[test]
        fn any_text_is_a_pattern_or_an_error(text: String) {
            let _ = KeyPattern::new(&text);
        }
    }
}
