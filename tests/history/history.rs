//! What clients asked, and what they were told.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Since the run began, on this machine's monotonic clock.
pub type At = Duration;

/// Now, on the clock of every history.
pub fn now() -> At {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// One operation: a key of one caller. Its number stands for it.
pub type CellId = usize;

/// What names an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub key: String,
    /// The number of the caller, of [`CALLERS`].
    pub caller: usize,
    pub route: Route,
    /// The proxy that alone has its store; none where all share one.
    pub home: Option<usize>,
}

/// What is promised of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// `unknown_outcome = "reject"`: at most once.
    Once,
    /// `unknown_outcome = "retry"`: a superseded attempt may have run too.
    Again,
}

/// One request, and what came of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Goes to the upstream in `X-Request`.
    pub id: u64,
    pub cell: CellId,
    /// Whether it was another body than that of the operation.
    pub other_body: bool,
    pub proxy: usize,
    pub start: At,
    pub end: At,
    /// How long the client was ready to wait.
    pub patience: Duration,
    /// After everything was healed.
    pub sweep: bool,
    pub said: Said,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Answer(Answer),
    /// The connection failed, or ended early.
    Broken(String),
    /// The client's patience ended.
    Nothing,
}

/// An answer that came whole.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Answer {
    pub status: u16,
    pub body: u64,
    /// Of the end-to-end headers, repeated ones in their order.
    pub headers: u64,
    /// The upstream's number of the visit that made it.
    pub visit: Option<u64>,
    pub stored: Option<bool>,
    pub replay: bool,
    pub state: Option<String>,
    pub error: Option<String>,
    pub id: Option<String>,
}

/// What an answer says of its key.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// The upstream's final answer, and that it is stored.
    Stored(u64),
    /// The same, again.
    Replay(u64),
    /// The upstream's final answer, and that it is not stored (yet).
    Told(u64),
    /// Not carried out, or not by this attempt.
    Released,
    Unknown,
    InProgress,
    /// This request goes on without its client: it may not even know yet what the store says of its key.
    GoesOn,
    KeyReused,
    /// Nothing was claimed, and nothing is said of the key.
    NotNow,
    /// No answer.
    None,
    /// What no request of these clients should get.
    Odd,
}

/// All that clients saw in a run.
#[derive(Debug, Default)]
pub struct History {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    cells: Vec<Cell>,
    asked: Vec<Asked>,
    ids: u64,
}

impl History {
    pub fn cell(&self, cell: Cell) -> CellId {
        let mut seen = self.seen.lock().unwrap();
        seen.cells.push(cell);
        seen.cells.len() - 1
    }

    /// A number for a request.
    pub fn request(&self) -> u64 {
        let mut seen = self.seen.lock().unwrap();
        seen.ids += 1;
        seen.ids
    }

    pub fn add(&self, asked: Asked) {
        self.seen.lock().unwrap().asked.push(asked);
    }

    pub fn name_of(&self, cell: CellId) -> Cell {
        self.seen.lock().unwrap().cells[cell].clone()
    }

    pub fn cells(&self) -> Vec<Cell> {
        self.seen.lock().unwrap().cells.clone()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().asked.clone()
    }
}

impl Asked {
    pub fn answer(&self) -> Option<&Answer> {
        match &self.said {
            Said::Answer(answer) => Some(answer),
            Said::Broken(_) | Said::Nothing => None,
        }
    }

    pub fn class(&self) -> Class {
        self.answer().map_or(Class::None, Answer::class)
    }
}

impl Answer {
    pub fn class(&self) -> Class {
        let state = self.state.as_deref();
        match (self.error.as_deref(), self.visit) {
            (Some("in-progress"), _) => Class::InProgress,
            (Some("still-processing"), _) => Class::GoesOn,
            (Some("outcome-unknown" | "upstream-failed" | "upstream-timeout"), _) => Class::Unknown,
            (Some("upstream-unreachable"), _) => Class::Released,
            (Some("key-reused"), _) => Class::KeyReused,
            (Some("store-unavailable" | "overloaded" | "draining"), _) => Class::NotNow,
            (None, Some(visit)) if self.replay => Class::Replay(visit),
            (None, Some(visit)) if self.stored == Some(true) => Class::Stored(visit),
            (None, Some(visit)) => match outcome_of(self.status) {
                Outcome::Final if state == Some("released") => Class::Odd,
                Outcome::Final => Class::Told(visit),
                Outcome::NotDone => Class::Released,
                Outcome::Unknown => Class::Unknown,
            },
            _ => Class::Odd,
        }
    }
}

/// What the rules say of an upstream's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Final,
    NotDone,
    Unknown,
}

/// The built-in rules, written a second time: a checker that asks the program what is right finds nothing.
pub fn outcome_of(status: u16) -> Outcome {
    match status {
        401 | 403 | 407 | 408 | 409 | 421 | 423 | 425 | 429 => Outcome::NotDone,
        502 | 504 => Outcome::Unknown,
        500..=599 => Outcome::NotDone,
        _ => Outcome::Final,
    }
}

/// The requests of each cell, by their start.
pub fn by_cell(asked: &[Asked]) -> BTreeMap<CellId, Vec<&Asked>> {
    let mut cells: BTreeMap<CellId, Vec<&Asked>> = BTreeMap::new();
    for asked in asked {
        cells.entry(asked.cell).or_default().push(asked);
    }
    for asked in cells.values_mut() {
        asked.sort_by_key(|asked| asked.start);
    }
    cells
}

/// What callers send as `Authorization`: a user name, an opaque token, a JWT, and nobody.
pub const CALLERS: [Option<&str>; 4] = [
    Some("Basic YWxpY2U6c2VjcmV0"),
    Some("Bearer opaque-token-of-bob"),
    Some("Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJ0ZXN0cyIsInN1YiI6ImNhcm9sIn0.c2ln"),
    None,
];
