//! What is asked, byte for byte.

/// Makes the requests: small POSTs, all of one length but for the key.
pub(crate) struct Requests {
    bytes: Vec<u8>,
    /// Where the key ends, which is where a new one has its number.
    key_end: Option<usize>,
}

impl Requests {
    /// Without a key: what passes through.
    pub(crate) fn without_key() -> Self {
        Self::new("")
    }

    /// With this key.
    pub(crate) fn with_key(key: &str) -> Self {
        Self::new(&format!("Idempotency-Key: {key}\r\n"))
    }

    /// With a key of 40 characters which is new each time, where `name`, of up to 28 characters, is used once.
    pub(crate) fn with_new_keys(name: &str) -> Self {
        let field = format!("Idempotency-Key: {name:-<28}{:0DIGITS$}", 0);
        let mut requests = Self::new(&format!("{field}\r\n"));
        requests.key_end = Some(START.len() + field.len());
        requests
    }

    /// The same, to this path.
    pub(crate) fn at(mut self, path: &str) -> Self {
        let replaced = "POST ".len().."POST /payments".len();
        self.key_end = self.key_end.map(|end| end + path.len() - replaced.len());
        self.bytes.splice(replaced, path.bytes());
        self
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> &[u8] {
        if let Some(end) = self.key_end {
            let digits = self.bytes[end - DIGITS..end].iter_mut().rev();
            for digit in digits {
                if *digit != b'9' {
                    *digit += 1;
                    break;
                }
                *digit = b'0';
            }
        }
        &self.bytes
    }

    fn new(field: &str) -> Self {
        let body = format!(
            r#"{{"amount":1999,"currency":"eur","note":"{:p<157}"}}"#,
            ""
        );
        let length = body.len();
        Self {
            bytes: format!("{START}{field}Content-Length: {length}\r\n\r\n{body}").into_bytes(),
            key_end: None,
        }
    }
}

/// What every request begins with.
const START: &str = "POST /payments HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nContent-Type: application/json\r\n";

/// Digits of the number of a key.
const DIGITS: usize = 12;
