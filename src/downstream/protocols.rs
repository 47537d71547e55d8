//! How hyper is to speak each version of HTTP.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::ServerSettings;
use super::streams::Streams;

/// How each version is spoken.
#[derive(Debug)]
pub(super) struct Protocols {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<Streams>,
}

impl Protocols {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        let largest_head = settings.max_header_bytes.saturating_add(SEPARATORS);
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // See `io`, which tells a rest between requests from a slow head.
            .header_read_timeout(None)
            .max_buf_size(largest_head.max(MIN_BUFFER));
        let mut http2 = http2::Builder::new(Streams {
            patience: settings.body_idle_timeout,
        });
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(largest_head).unwrap_or(u32::MAX))
            .max_concurrent_streams(200)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(100)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(64 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self { http1, http2 }
    }
}

/// Room for what a head holds beside names, values and target, so that our own measure decides; of header lines hyper takes 100, and with
/// another number it would make a table of that many for each request.
const SEPARATORS: usize = 256 * 32;
/// hyper takes no smaller one.
const MIN_BUFFER: usize = 8192;
