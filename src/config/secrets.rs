//! Secrets of the store, each in a file of its own. None of them is ever shown.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::defaults::SECRET_MIN;
use super::kind::{Read, Value, wrong};
use super::words::content;
use crate::idempotency::Secret;
use crate::store::EncryptionKey;

/// A file with a key that encrypts: 32 bytes as they are, in hex or in base64.
pub(super) fn encryption_key(value: &Value<'_>) -> Read<EncryptionKey> {
    match key(&content(value)?) {
        Some(key) => Ok(EncryptionKey::new(key)),
        None => wrong(value, KEY),
    }
}

/// A file with a secret of some length; a newline at its end is no part of it.
pub(super) fn secret(value: &Value<'_>) -> Read<Secret> {
    let content = content(value)?;
    let line = content.strip_suffix(b"\n").unwrap_or(&content);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() < SECRET_MIN {
        return wrong(
            value,
            format!("a file with a secret of at least {SECRET_MIN} bytes that nobody can guess"),
        );
    }
    Ok(Secret::new(line))
}

fn key(content: &[u8]) -> Option<[u8; 32]> {
    let text = content.trim_ascii();
    let is_hex = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    match content.try_into() {
        // 32 hex digits are half a key, and no random bytes look like them.
        Ok(_) if is_hex => None,
        Ok(raw) => Some(raw),
        Err(_) if is_hex => of_hex(text),
        Err(_) => [&STANDARD, &URL_SAFE]
            .into_iter()
            .find_map(|base64| base64.decode(text).ok()?.try_into().ok()),
    }
}

fn of_hex(digits: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if digits.len() != 2 * key.len() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

/// What a file with a key that encrypts holds.
const KEY: &str = "a file with a key of 32 bytes: as they are, as 64 hex digits (openssl rand -hex 32), or in base64";

const PADDED_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDED_OR_NOT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDED_OR_NOT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_each_of_its_forms() {
        let raw: [u8; 32] = std::array::from_fn(|at| 255 - at as u8);
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let [padded, url] = [STANDARD.encode(raw), URL_SAFE.encode(raw)];
        assert_ne!(padded, url);
        for form in [
            raw.to_vec(),
            hex.clone().into_bytes(),
            hex.to_uppercase().into_bytes(),
            format!("{hex}\n").into_bytes(),
            padded.clone().into_bytes(),
            format!("{padded}\r\n").into_bytes(),
            padded.trim_end_matches('=').into(),
            url.into_bytes(),
        ] {
            assert_eq!(key(&form), Some(raw), "{form:?}");
        }
    }

    #[test]
    fn anything_of_another_length_is_no_key() {
        for form in [
            vec![],
            b"\n".to_vec(),
            vec![7; 31],
            vec![7; 33],
            vec![7; 64],
            b"0".repeat(32),
            b"0".repeat(63),
            b"0".repeat(65),
            STANDARD.encode([7; 31]).into_bytes(),
            STANDARD.encode([7; 33]).into_bytes(),
        ] {
            assert_eq!(key(&form), None, "{form:?}");
        }
    }
}
