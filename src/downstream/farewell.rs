//! The end of a connection whose client may still be sending.
//!
//! To close a socket with unread bytes in it resets the connection, and the reset can overtake the answer. So the
//! sending half is closed first, and what the client still sends is read and thrown away for a while.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::{Problem, Voice};

/// Writes `last`, closes the sending half, and reads until the client closes, `patience` is over or it sent too much.
pub(super) async fn farewell(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    last: &[u8],
    patience: Duration,
) {
    let goodbye = async {
        io.write_all(last).await?;
        io.shutdown().await?;
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match io.read(&mut buffer).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever goes wrong: the connection is over.
    let _ = tokio::time::timeout(patience, goodbye).await;
}

/// The problem as the last message of an HTTP/1.1 connection.
pub(super) fn last_message(problem: Problem, voice: &Voice) -> Vec<u8> {
    let response: Response<Bytes> = voice.answer(problem, None);
    let status = response.status();
    let mut message = format!(
        "HTTP/1.1 {} {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or("")
    )
    .into_bytes();
    for (name, value) in response.headers() {
        message.extend_from_slice(name.as_str().as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(value.as_bytes());
        message.extend_from_slice(b"\r\n");
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    let framing = format!(
        "content-length: {}\r\nconnection: close\r\ndate: {date}\r\n\r\n",
        response.body().len()
    );
    message.extend_from_slice(framing.as_bytes());
    message.extend_from_slice(response.body());
    message
}

/// How long a client may go on sending after its answer.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// The same, of a client whose connection never came to a request.
pub(super) const SHORT_LINGER: Duration = Duration::from_secs(1);

const LINGER_BYTES: usize = 64 << 20;
