//! What is remembered of questions to the upstream.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::idempotency::RecordId;
use crate::idempotency::digest::Digest;

/// What is remembered of questions to the upstream: about which keys one is under way, and which credentials stand.
#[derive(Debug, Default)]
pub(super) struct Asides {
    asking: Arc<Mutex<HashSet<RecordId>>>,
    stand: Mutex<HashMap<Digest, Instant>>,
}

/// The leave to ask about one key; nobody else here has it meanwhile.
#[derive(Debug)]
pub(super) struct Turn {
    asking: Arc<Mutex<HashSet<RecordId>>>,
    id: RecordId,
}

impl Asides {
    /// For other settings: what is under way still is, and who stands is asked again, since the question may be another one now.
    pub(super) fn for_other_settings(&self) -> Self {
        Self {
            asking: Arc::clone(&self.asking),
            stand: Mutex::default(),
        }
    }

    /// The leave to ask about a key, unless somebody else does.
    pub(super) fn turn(&self, id: RecordId) -> Option<Turn> {
        locked(&self.asking).insert(id).then(|| Turn {
            asking: Arc::clone(&self.asking),
            id,
        })
    }

    /// Whether these credentials were found to stand, and that is still believed.
    pub(super) fn stand(&self, credentials: &Digest) -> bool {
        locked(&self.stand)
            .get(credentials)
            .is_some_and(|until| Instant::now() < *until)
    }

    /// Remembers that credentials stand. Where there is no room they are asked for again.
    pub(super) fn remember(&self, credentials: Digest, time: Duration) {
        let now = Instant::now();
        let mut stand = locked(&self.stand);
        if stand.len() >= REMEMBERED {
            stand.retain(|_, until| now < *until);
        }
        if stand.len() < REMEMBERED
            && let Some(until) = now.checked_add(time)
        {
            stand.insert(credentials, until);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.asking).remove(&self.id);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever panicked while it had the lock left a whole set or map behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Credentials remembered, 32 bytes each.
const REMEMBERED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_turn_of_a_key() {
        let asides = Asides::default();
        let (one, other) = (RecordId::from_bytes([1; 16]), RecordId::from_bytes([2; 16]));
        let turn = asides.turn(one);
        assert!(turn.is_some() && asides.turn(one).is_none());
        assert!(asides.turn(other).is_some());
        drop(turn);
        assert!(asides.turn(one).is_some());
    }

    #[test]
    fn other_settings_ask_anew_who_stands_and_still_one_at_a_time() {
        let asides = Asides::default();
        asides.remember(Digest::default(), Duration::from_secs(30));
        let id = RecordId::from_bytes([1; 16]);
        let turn = asides.turn(id);
        let other = asides.for_other_settings();
        assert!(!other.stand(&Digest::default()) && asides.stand(&Digest::default()));
        assert!(other.turn(id).is_none());
        drop(turn);
        assert!(other.turn(id).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_stand_for_their_time_and_only_so_many() {
        let asides = Asides::default();
        let of = |number: usize| {
            let mut digest = Digest::default();
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        for number in 0..=REMEMBERED {
            asides.remember(of(number), Duration::from_secs(30));
        }
        assert!(asides.stand(&of(0)) && !asides.stand(&of(REMEMBERED)));
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(!asides.stand(&of(0)));
        asides.remember(of(REMEMBERED), Duration::from_secs(30));
        assert!(asides.stand(&of(REMEMBERED)));
    }
}
