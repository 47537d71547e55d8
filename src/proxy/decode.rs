//! Content codings of answers, undone to judge them: the client gets what the upstream sent.

use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// It cannot be read: another coding, several, a broken one, or too much in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

/// The content of a body with these headers, of which there may be `max` bytes.
pub(super) fn decoded<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
    max: u64,
) -> Result<Cow<'a, [u8]>, Undecodable> {
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|coding| coding.trim_ascii().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != b"identity");
    let Some(coding) = codings.next() else {
        return Ok(Cow::Borrowed(body));
    };
    if codings.next().is_some() {
        return Err(Undecodable);
    }
    match coding.as_slice() {
        b"gzip" | b"x-gzip" => read(MultiGzDecoder::new(body), max),
        b"deflate" if is_zlib(body) => read(ZlibDecoder::new(body), max),
        // RFC 9110, section 8.4.1.2: some send it bare.
        b"deflate" => read(DeflateDecoder::new(body), max),
        b"br" if !has_large_window(body) => read(Decompressor::new(body, CHUNK), max),
        _ => Err(Undecodable),
    }
    .map(Cow::Owned)
}

fn read(content: impl Read, max: u64) -> Result<Vec<u8>, Undecodable> {
    let mut bytes = Vec::new();
    content
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|_| Undecodable)?;
    if bytes.len() as u64 > max {
        return Err(Undecodable);
    }
    Ok(bytes)
}

/// RFC 1950, section 2.2.
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0xf == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

/// Beyond RFC 7932 (section 9.1 has no such window): a few bytes would take a gigabyte.
fn has_large_window(body: &[u8]) -> bool {
    body.first().is_some_and(|first| first & 0x7f == 0x11)
}

const CHUNK: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    const TEXT: &[u8] = br#"{"error":{"code":"23505"}}"#;
    /// The same: the head of a window of 64 KiB, one metablock that is not compressed, and an empty last one (RFC 7932, 9.2).
    const BROTLI: &[u8] = b"\x90\x01\x10{\"error\":{\"code\":\"23505\"}}\x03";

    fn with(codings: &[&'static str], body: &[u8], max: u64) -> Result<Vec<u8>, Undecodable> {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        decoded(&headers, body, max).map(Cow::into_owned)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn bare_deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_encoded_once_is_read() {
        for (coding, body) in [
            ("gzip", gzip(TEXT)),
            ("X-GZip", gzip(TEXT)),
            ("identity, gzip", gzip(TEXT)),
            ("gzip", [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat()),
            ("deflate", zlib(TEXT)),
            ("deflate", bare_deflate(TEXT)),
            ("br", BROTLI.to_vec()),
            ("identity", TEXT.to_vec()),
            (" ", TEXT.to_vec()),
        ] {
            assert_eq!(with(&[coding], &body, 1024).unwrap(), TEXT, "{coding}");
        }
        assert_eq!(with(&[], TEXT, 0).unwrap(), TEXT);
    }

    #[test]
    fn what_is_cut_broken_or_encoded_otherwise_is_not() {
        for coding in ["gzip", "deflate", "br"] {
            let body = match coding {
                "gzip" => gzip(TEXT),
                "deflate" => zlib(TEXT),
                _ => BROTLI.to_vec(),
            };
            for cut in 0..body.len() {
                assert_eq!(
                    with(&[coding], &body[..cut], 1024),
                    Err(Undecodable),
                    "{coding} {cut}"
                );
            }
            assert_eq!(with(&[coding], TEXT, 1024), Err(Undecodable), "{coding}");
        }
        let twice = gzip(&gzip(TEXT));
        for codings in [
            &["gzip, gzip"][..],
            &["gzip", "gzip"],
            &["zstd"],
            &["gzip;q=1"],
        ] {
            assert_eq!(with(codings, &twice, 1024), Err(Undecodable), "{codings:?}");
        }
        assert_eq!(with(&["br"], &[0x11; 64], 1024), Err(Undecodable));
    }

    #[test]
    fn a_bomb_is_let_go_at_the_limit() {
        let bomb = gzip(&vec![b' '; 10 << 20]);
        assert!(bomb.len() < 16 << 10);
        assert_eq!(with(&["gzip"], &bomb, 16 << 10), Err(Undecodable));
        let size = TEXT.len() as u64;
        assert_eq!(with(&["gzip"], &gzip(TEXT), size).unwrap(), TEXT);
        assert_eq!(with(&["gzip"], &gzip(TEXT), size - 1), Err(Undecodable));
    }
}
