//! Which version of HTTP a client speaks, by the first bytes.

/// Of HTTP, as far as the connection differs by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// What the first bytes said, RFC 9113, 3.4.
pub(super) enum Protocol {
    Unknown { matched: usize },
    Http1,
    Http2,
}

impl Protocol {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if let Self::Unknown { matched } = *self {
            let rest = &PREFACE[matched..];
            let common = rest.len().min(bytes.len());
            *self = match () {
                () if bytes[..common] != rest[..common] => Self::Http1,
                () if common == rest.len() => Self::Http2,
                () => Self::Unknown {
                    matched: matched + common,
                },
            };
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
