//! Tokens that no other attempt has.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, NoContext, Timestamp, Uuid};

use crate::idempotency::{Token, UnixMillis};

/// One that no attempt of any process has: a UUIDv7. All of it that is not its time is random: nobody needs the order that a counter would
/// give tokens of one millisecond, and all threads would share. The system is asked each time: what a generator in memory draws, another
/// process with a copy of that memory draws too, after a fork or from a snapshot.
pub(super) fn random(UnixMillis(now): UnixMillis) -> Token {
    let nanos = (now % 1000) as u32 * 1_000_000;
    let at = Timestamp::from_unix(NoContext, now / 1000, nanos);
    Token::from_bytes(Uuid::new_v7(at).into_bytes())
}

/// One that no other attempt of this process has, for records that go with it. A UUIDv7 too, of which the rest is the number of the thread and
/// that of the token there (RFC 9562, 6.2): the system is not asked, and no two threads share anything.
pub(super) fn numbered(now: UnixMillis) -> Token {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let thread = THREAD.with(|thread| *thread);
    let Some(thread) = u16::try_from(thread).ok().filter(|it| *it < NUMBERED) else {
        return random(now);
    };
    let number = NEXT.get();
    NEXT.set(number + 1);
    let mut rest = [0; 10];
    rest[..2].copy_from_slice(&thread.to_be_bytes());
    rest[2..].copy_from_slice(&number.to_be_bytes());
    let UnixMillis(now) = now;
    Token::from_bytes(
        Builder::from_unix_timestamp_millis(now, &rest)
            .into_uuid()
            .into_bytes(),
    )
}

/// As many threads as have a number in twelve bits, which is what is left before the variant; the number of a token has the 62 after it.
const NUMBERED: u16 = 1 << 12;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn no_two_are_alike_on_any_thread() {
        let now = UnixMillis(1_700_000_000_000);
        let draw = move || {
            let two = |_| [numbered(now), random(now)];
            (0..100).flat_map(two).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(draw)).collect();
        let drawn = threads.into_iter().flat_map(|it| it.join().unwrap());
        let drawn: HashSet<_> = drawn.collect();
        assert_eq!(drawn.len(), 4 * 100 * 2);
        for token in drawn {
            let uuid = Uuid::from_bytes(*token.as_bytes());
            assert_eq!(uuid.get_version_num(), 7);
            let (seconds, nanos) = uuid.get_timestamp().unwrap().to_unix();
            assert_eq!((seconds, nanos), (now.0 / 1000, 0));
        }
    }
}
