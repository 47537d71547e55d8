//! A path as its reader will take it, to find its route by: an API decodes a path before it looks at it, and so do nginx and Envoy.

use std::borrow::Cow;

/// The path with percent-encoded unreserved characters decoded, and dot segments resolved (RFC 3986, 6.2.2).
///
/// Only the route is found by it. What goes upstream, and into scope and fingerprint, is the path as it came.
pub(super) fn canonical(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("/.") {
        return Cow::Borrowed(path);
    }
    let decoded = decoded(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = decoded.split('/').skip(1).peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                // What is left is a directory.
                if is_last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    Cow::Owned(format!("/{}", segments.join("/")))
}

/// With the characters decoded that mean the same either way; the others keep their escapes, which have capitals then.
fn decoded(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let escaped = after
            .get(..2)
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        match escaped.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = &after[2..];
            }
            Some(byte) => {
                decoded.push_str(&format!("%{byte:02X}"));
                rest = &after[2..];
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_spelling_is_the_same_path() {
        for (path, expected) in [
            ("/pay", "/pay"),
            ("/%70ay", "/pay"),
            ("/p%61y/%7e%2D", "/pay/~-"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2", "/a%2"),
            ("/a%+1b%zz%", "/a%+1b%zz%"),
            ("/%25%37%30", "/%2570"),
            ("/x/../pay", "/pay"),
            ("/x/%2e%2E/pay", "/pay"),
            ("/./pay/.", "/pay/"),
            ("/pay/x/..", "/pay/"),
            ("/../../pay", "/pay"),
            ("/a//../b", "/a/b"),
            ("/.well-known/a", "/.well-known/a"),
            ("/é%C3%A9", "/é%C3%A9"),
            ("*", "*"),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_its_own(path in "/[a-z%2e./é]{0,12}") {
            let once = canonical(&path).into_owned();
            let twice = canonical(&once).into_owned();
            // An escape of a percent sign stays one, whatever follows it.
            prop_assert!(path.contains("%2") || once == twice, "{} {} {}", path, once, twice);
        }
    }
}
