//! Header fields as they are kept.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};

use super::scratch::Scratch;

/// Header or trailer fields, in order, a repeated one each time. They are one piece of memory, laid out as in a stored record (`store::codec`):
/// most of their life they are copied, and not looked at.
///
/// Each is a name of 65,535 bytes and a value of 4 GiB less one byte at most, and there are no more than 65,535: of what is longer the end is
/// lost.
///
/// Their count is always there, also of none.
#[derive(Clone, PartialEq, Eq)]
pub struct Fields(Bytes);

impl Fields {
    /// Each name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[COUNT..];
        std::iter::from_fn(move || next(&mut rest))
    }

    /// Each name and value; the values share the memory of all.
    pub(crate) fn shared(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        self.iter()
            .map(|(name, value)| (name, self.0.slice_ref(value)))
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        (&self.0[..COUNT]).get_u16().into()
    }

    /// As they are laid out: u16 count, then each as u16 length, name, u32 length, value.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes fields that are laid out so from the beginning of `bytes`; nothing if it is too short for them.
    pub(crate) fn split_from(bytes: &mut Bytes) -> Option<Self> {
        let mut rest = &**bytes;
        for _ in 0..rest.try_get_u16().ok()? {
            next(&mut rest)?;
        }
        Some(Self(bytes.split_to(bytes.len() - rest.len())))
    }
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let length = rest.try_get_u16().ok()?;
    let name = rest.split_off(..length.into())?;
    let length = rest.try_get_u32().ok()?;
    Some((name, rest.split_off(..usize::try_from(length).ok()?)?))
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut fields = fields.into_iter().peekable();
        if fields.peek().is_none() {
            return Self::default();
        }
        // Their length is known in the end, and then they are copied once: what is kept has no room left over.
        let mut bytes = Scratch::take(COMMON);
        bytes.put_u16(0);
        let mut count = 0;
        for (name, value) in fields.take(u16::MAX.into()) {
            let (name, value) = (name.as_ref(), value.as_ref());
            let name = &name[..name.len().min(u16::MAX.into())];
            let value = &value[..value.len().min(u32::MAX as usize)];
            bytes.put_u16(name.len() as u16);
            bytes.put_slice(name);
            bytes.put_u32(value.len() as u32);
            bytes.put_slice(value);
            count += 1_u16;
        }
        bytes[..COUNT].copy_from_slice(&count.to_be_bytes());
        Self(Bytes::copy_from_slice(&bytes))
    }
}

/// None.
impl Default for Fields {
    fn default() -> Self {
        Self(Bytes::from_static(&[0; COUNT]))
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self
            .iter()
            .map(|(name, value)| (name.escape_ascii(), value.escape_ascii()));
        let texts = texts.map(|(name, value)| format!("{name}: {value}"));
        f.debug_list().entries(texts).finish()
    }
}

const COUNT: usize = size_of::<u16>();
/// Bytes that the fields of most answers take.
const COMMON: usize = 512;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_in_comes_out_again(
            given in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..5),
            after in any::<Vec<u8>>(),
        ) {
            let fields: Fields = given.iter().map(|(name, value)| (name, value)).collect();
            prop_assert_eq!(fields.len(), given.len());
            let found: Vec<_> = fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(&found, &given);
            let shared: Vec<_> = fields.shared().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(&shared, &given);
            let mut bytes = Bytes::from([fields.as_bytes(), &after].concat());
            prop_assert_eq!(Fields::split_from(&mut bytes), Some(fields.clone()));
            prop_assert_eq!(&*bytes, &*after);
            for end in 0..fields.as_bytes().len() {
                let mut cut = Bytes::copy_from_slice(&fields.as_bytes()[..end]);
                prop_assert_eq!(Fields::split_from(&mut cut), None);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = vec![b'x'; usize::from(u16::MAX) + 1];
        let fields: Fields = [(&long, "1"), (&long, "2")].into_iter().collect();
        let lengths: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.len(), value.to_vec()))
            .collect();
        assert_eq!(lengths, [(65_535, b"1".to_vec()), (65_535, b"2".to_vec())]);
        let many: Fields = (0..70_000).map(|_| ("", "")).collect();
        assert_eq!((many.len(), many.iter().count()), (65_535, 65_535));
        let none: Fields = [("", ""); 0].into_iter().collect();
        assert_eq!((none.len(), &none), (0, &Fields::default()));
    }

    #[test]
    fn they_are_shown_as_text() {
        let fields: Fields = [("a", "1"), ("b", "\n")].into_iter().collect();
        assert_eq!(format!("{fields:?}"), r#"["a: 1", "b: \\n"]"#);
    }
}
