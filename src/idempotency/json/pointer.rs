//! A place in a JSON value (RFC 6901).

use std::str::FromStr;

/// A place in a JSON value (RFC 6901): `/order/lines/0`. The empty one is the whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Not a JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPointer {
    /// Neither empty nor with a slash first.
    #[error("a JSON pointer begins with /")]
    NoSlash,
    /// A tilde that is neither `~0` nor `~1`.
    #[error("in a JSON pointer ~ is written ~0, and / within a name ~1")]
    Tilde,
}

impl Pointer {
    /// Its tokens, without their escapes.
    pub fn tokens(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = BadPointer;

    fn from_str(text: &str) -> Result<Self, BadPointer> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let tokens = text.strip_prefix('/').ok_or(BadPointer::NoSlash)?;
        let tokens: Result<_, _> = tokens.split('/').map(unescape).collect();
        tokens.map(Self)
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// The place in an array that a token names: digits without a leading zero.
pub(super) fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit());
    let index = token.parse().ok()?;
    (plain && (index == 0) == token.starts_with('0') && (index > 0 || token.len() == 1))
        .then_some(index)
}

fn unescape(token: &str) -> Result<String, BadPointer> {
    let mut pieces = token.split('~');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escaped, rest) = match piece.split_at_checked(1) {
            Some(("0", rest)) => ('~', rest),
            Some(("1", rest)) => ('/', rest),
            _ => return Err(BadPointer::Tilde),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_in_one_go() {
        let pointer: Pointer = "/a~1b/~01/~0~1".parse().unwrap();
        assert_eq!(pointer.tokens(), ["a/b", "~1", "~/"]);
        assert_eq!(pointer.to_string(), "/a~1b/~01/~0~1");
    }

    #[test]
    fn the_empty_one_is_the_whole_and_a_slash_the_empty_name() {
        assert!("".parse::<Pointer>().unwrap().tokens().is_empty());
        assert_eq!("/".parse::<Pointer>().unwrap().tokens(), [""]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, why) in [
            ("a", BadPointer::NoSlash),
            ("#/a", BadPointer::NoSlash),
            ("/~", BadPointer::Tilde),
            ("/a~2", BadPointer::Tilde),
            ("/a~é", BadPointer::Tilde),
        ] {
            assert_eq!(text.parse::<Pointer>(), Err(why), "{text}");
        }
    }

    #[test]
    fn an_index_has_one_way_to_be_written() {
        assert_eq!((index("0"), index("10")), (Some(0), Some(10)));
        for none in [
            "",
            "00",
            "01",
            "-",
            "+1",
            "-1",
            "1e0",
            "99999999999999999999",
        ] {
            assert_eq!(index(none), None, "{none}");
        }
    }
}
