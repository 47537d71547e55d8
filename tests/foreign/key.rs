//! The value of a key header.

use idemproxy::idempotency::Key;

/// Any bytes are a key, the same however it is written, or an error.
pub(crate) fn holds(input: &[u8]) {
    let Ok(key) = Key::from_header(input, MAX_LENGTH) else {
        return;
    };
    let text = key.as_str();
    assert!((1..=MAX_LENGTH).contains(&text.len()));
    assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
    assert!(!format!("{key:?}").contains(text) || "Key(…)".contains(text));

    let value = input.trim_ascii();
    if value.starts_with(b"\"") {
        assert_eq!(strict(value).as_deref(), Some(text));
    } else {
        assert_eq!(value, text.as_bytes());
    }
    let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    for same in [quoted.clone(), format!(" {quoted};v=1;w")] {
        assert_eq!(
            Key::from_header(same.as_bytes(), MAX_LENGTH),
            Ok(key.clone())
        );
    }
    let shorter = Key::from_header(quoted.as_bytes(), text.len() - 1);
    assert!(shorter.is_err(), "longer than it may be");
}

/// As RFC 9651 has it.
fn strict(value: &[u8]) -> Option<String> {
    let item: sfv::Item = sfv::Parser::new(value).parse().ok()?;
    Some(item.bare_item.as_string()?.as_str().to_owned())
}

const MAX_LENGTH: usize = 255;
