//! A moment as headers tell it.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

/// The HTTP date (RFC 9110, section 5.6.7) of a second since 1970; the last that one can name, where it is later.
///
/// The last one made is kept on each thread: what is answered in the same second mostly tells the same, and to write it takes more than
/// to write the rest of a head.
pub(crate) fn http_date(second: u64) -> HeaderValue {
    thread_local! {
        static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let second = second.min(LAST_SECOND);
    LAST.with_borrow_mut(|last| match last {
        Some((at, text)) if *at == second => text.clone(),
        _ => {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            let text = HeaderValue::try_from(text).expect("a date is in ASCII");
            last.insert((second, text)).1.clone()
        }
    })
}

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_a_date_of_its_own() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1, "Thu, 01 Jan 1970 00:00:01 GMT"),
            (1_790_000_000, "Mon, 21 Sep 2026 14:13:20 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(second), text);
        }
    }
}
