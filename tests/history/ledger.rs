//! What really happened upstream.

use std::collections::HashMap;
use std::sync::Mutex;

use super::history::{At, now};

/// A request that the upstream received whole, and what it did.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Its number, from 1; goes back in `X-Visit`.
    pub number: u64,
    pub key: String,
    /// As it stood in `Authorization`.
    pub caller: String,
    /// What the client put into `X-Request`.
    pub request: u64,
    pub body: u64,
    pub received: At,
    pub act: Act,
    pub effect: Option<At>,
    /// The answer, if one was sent whole.
    pub answer: Option<Sent>,
}

/// An answer as it left the upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub at: At,
    pub status: u16,
    pub body: u64,
    pub headers: u64,
}

/// What the upstream does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// The effect, and 201.
    Do,
    /// So many milliseconds before the effect, and after it.
    Slow(u64, u64),
    /// Refused for good, without an effect.
    Decline(u16),
    /// Said to be not done, and not done.
    NotDone(u16),
    /// 502 or 504, with or without the effect.
    Gateway(u16, bool),
    /// The connection ends instead of an answer: with or without the effect, by a reset or not.
    Close { effect: bool, reset: bool },
    /// The effect, and an answer that ends after so many bytes.
    Cut(usize),
    /// Never an answer.
    Silent { effect: bool },
}

/// All that the upstream did in a run.
#[derive(Debug, Default)]
pub struct Ledger {
    visits: Mutex<Visits>,
}

#[derive(Debug, Default)]
struct Visits {
    all: Vec<Visit>,
    of_key: HashMap<(String, String), u64>,
}

impl Act {
    /// Whether a proxy may be left without knowing what happened.
    pub fn is_misbehaviour(self) -> bool {
        match self {
            Self::Do | Self::Decline(_) | Self::NotDone(_) => false,
            // Beyond half of what the proxy grants; the rest may go into a busy machine.
            Self::Slow(before, after) => before + after > 400,
            _ => true,
        }
    }

    /// One word for figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Do => "done",
            Self::Slow(..) => "slow",
            Self::Decline(_) => "declined",
            Self::NotDone(_) => "not done",
            Self::Gateway(..) => "lost by a gateway",
            Self::Close { effect: true, .. } => "closed after the effect",
            Self::Close { .. } => "closed before the effect",
            Self::Cut(_) => "answer cut",
            Self::Silent { .. } => "silent",
        }
    }
}

impl Ledger {
    /// Notes a request. How often its key came before decides what is done with it.
    pub fn receive(
        &self,
        key: &str,
        caller: &str,
        request: u64,
        body: u64,
        plan: impl FnOnce(u64) -> Act,
    ) -> (u64, Act) {
        let mut visits = self.visits.lock().unwrap();
        let before = visits
            .of_key
            .entry((key.to_owned(), caller.to_owned()))
            .or_default();
        *before += 1;
        let act = plan(*before - 1);
        let number = visits.all.len() as u64 + 1;
        visits.all.push(Visit {
            number,
            key: key.to_owned(),
            caller: caller.to_owned(),
            request,
            body,
            received: now(),
            act,
            effect: None,
            answer: None,
        });
        (number, act)
    }

    pub fn effect(&self, number: u64) {
        self.visits.lock().unwrap().all[number as usize - 1].effect = Some(now());
    }

    /// Before its last byte leaves: whoever gets it finds it here.
    pub fn answer(&self, number: u64, sent: Sent) {
        self.visits.lock().unwrap().all[number as usize - 1].answer = Some(sent);
    }

    pub fn visits(&self) -> Vec<Visit> {
        self.visits.lock().unwrap().all.clone()
    }

    /// How often this key was received.
    pub fn received(&self, key: &str) -> u64 {
        let visits = self.visits.lock().unwrap();
        let of_key = visits.of_key.iter().filter(|((of, _), _)| of == key);
        of_key.map(|(_, count)| *count).sum()
    }
}
