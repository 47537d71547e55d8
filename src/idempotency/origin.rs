//! Where a request came in.

use std::fmt;

use super::digest::Digest;

/// Where a request came in, for operators. Its texts are one piece of memory: most of their life they are copied, and not looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    /// Digest of the key alone, by which an operator who knows the key finds its records.
    pub key: Digest,
    /// Route, method and path, one after the other.
    texts: Box<str>,
    /// Bytes of the route, and of the method.
    lengths: [u16; 2],
}

impl Origin {
    /// By the name of the route, the request's method and its path as forwarded. Of each at most the first 65,535 bytes are kept.
    pub fn new(route: &str, method: &str, path: &str, key: Digest) -> Self {
        let [route, method, path] = [route, method, path].map(cut);
        // By hand, as this takes half of what `concat` does.
        let mut texts = String::with_capacity(route.len() + method.len() + path.len());
        for text in [route, method, path] {
            texts.push_str(text);
        }
        Self {
            key,
            texts: texts.into(),
            lengths: [route.len() as u16, method.len() as u16],
        }
    }

    /// Name of the route.
    pub fn route(&self) -> &str {
        &self.texts[..self.ends()[0]]
    }

    /// Request method.
    pub fn method(&self) -> &str {
        let [start, end] = self.ends();
        &self.texts[start..end]
    }

    /// Path, as forwarded.
    pub fn path(&self) -> &str {
        &self.texts[self.ends()[1]..]
    }

    /// Where route and method end.
    fn ends(&self) -> [usize; 2] {
        let [route, method] = self.lengths.map(usize::from);
        [route, route + method]
    }
}

/// From nowhere.
impl Default for Origin {
    fn default() -> Self {
        Self::new("", "", "", Digest::default())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("route", &self.route())
            .field("method", &self.method())
            .field("path", &self.path())
            .field("key", &self.key)
            .finish()
    }
}

/// As much of a text as is kept of one.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(usize::from(u16::MAX))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_comes_out_as_it_was_put_in() {
        for (route, method, path) in [
            ("orders", "POST", "/orders"),
            ("", "PUT", ""),
            ("é", "", "/ü"),
        ] {
            let origin = Origin::new(route, method, path, [1; 16]);
            assert_eq!(
                (origin.route(), origin.method(), origin.path()),
                (route, method, path)
            );
        }
        assert_ne!(
            Origin::new("a", "b", "c", [1; 16]),
            Origin::new("ab", "", "c", [1; 16])
        );
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_two_letters() {
        let long = format!("{}é", "a".repeat(usize::from(u16::MAX) - 1));
        let origin = Origin::new(&long, &long, &long, [1; 16]);
        for text in [origin.route(), origin.method(), origin.path()] {
            assert_eq!(text, &long[..usize::from(u16::MAX) - 1]);
        }
    }
}
