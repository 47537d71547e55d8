//! The bytes from one end of a connection to the other.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::connection::{Ending, Passage};
use super::dice::Dice;
use super::kind::Kind;
use super::plan::{Installed, Plan, hits};
use super::steps::{Pieces, Step, lateness};
use super::toxic::Stream;

/// One direction of a connection, with what is on its way.
pub(super) struct Direction<'a> {
    stream: Stream,
    passage: &'a Passage,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    plans: watch::Receiver<Arc<Plan>>,
    plan: Arc<Plan>,
    marks: HashMap<u64, Mark>,
    /// What was read, in order. The steps are those of the first.
    queue: VecDeque<Read>,
    steps: VecDeque<Step>,
    ended: bool,
    /// Nothing passes any more.
    void: bool,
    /// By a silence.
    silenced: bool,
    /// Bytes that passed.
    passed: u64,
    /// When the last piece was due.
    free: Instant,
    dice: Dice,
}

/// What one read brought.
struct Read {
    what: What,
    at: Instant,
    dice: u64,
    /// When it came to the front.
    begun: Option<Instant>,
    /// The toxics that were counted for it.
    counted: Vec<u64>,
}

enum What {
    Data(Bytes),
    End,
    Error,
}

/// What one toxic is to this direction.
struct Mark {
    hit: bool,
    /// What had passed when it came.
    from: u64,
    /// When it came, or last let bytes vanish.
    since: Instant,
    counted: bool,
    swallows: Option<bool>,
    closes_when_removed: bool,
}

impl<'a> Direction<'a> {
    pub(super) fn new(
        stream: Stream,
        passage: &'a Passage,
        from: ReadHalf<'a>,
        to: WriteHalf<'a>,
    ) -> Self {
        let plans = passage.plans.clone();
        let plan = Arc::clone(&plans.borrow());
        Self {
            stream,
            passage,
            from,
            to,
            plans,
            plan,
            marks: HashMap::new(),
            queue: VecDeque::new(),
            steps: VecDeque::new(),
            ended: false,
            void: false,
            silenced: false,
            passed: 0,
            free: Instant::now(),
            dice: Dice::of(passage.seed, passage.number, stream as u64),
        }
    }

    /// Brings bytes over until their end has been brought over too; or the whole connection ends.
    pub(super) async fn run(mut self) -> Result<(), Ending> {
        self.take_plan()?;
        loop {
            if self.plans.has_changed().unwrap_or(true) {
                self.take_plan()?;
            }
            if self.void && self.ended {
                return Ok(());
            }
            self.prepare();
            let room = !self.ended && (self.queue.is_empty() || self.reads_ahead());
            let closing = self.closing();
            tokio::select! {
                changed = self.plans.changed() => {
                    if changed.is_err() {
                        return Err(Ending::Close);
                    }
                    self.take_plan()?;
                }
                () = until(closing.map(|(at, _)| at)) => {
                    if let Some((_, toxic)) = closing {
                        self.count_connection(toxic, "timeout");
                    }
                    return Err(Ending::Close);
                }
                () = due(self.steps.front(), &self.to) => {
                    // The toxics may have changed while it slept.
                    if !self.plans.has_changed().unwrap_or(true) && self.step().await? {
                        return Ok(());
                    }
                }
                _ = self.from.readable(), if room => self.read(),
            }
        }
    }

    /// Sees what has changed; the steps are made anew.
    fn take_plan(&mut self) -> Result<(), Ending> {
        self.plan = Arc::clone(&self.plans.borrow_and_update());
        self.steps.clear();
        let (seed, number) = (self.passage.seed, self.passage.number);
        let present: HashMap<u64, &Arc<Installed>> = self
            .plan
            .toxics
            .iter()
            .filter(|toxic| toxic.stream == self.stream)
            .map(|toxic| (toxic.id, toxic))
            .collect();
        // What lost bytes must not go on without them.
        let closes =
            |(id, mark): (&u64, &Mark)| mark.closes_when_removed && !present.contains_key(id);
        if self.marks.iter().any(closes) {
            return Err(Ending::Close);
        }
        self.marks.retain(|id, _| present.contains_key(id));
        for (id, toxic) in present {
            let hit = hits(seed, id, toxic.toxicity, number);
            let mark = self.marks.entry(id).or_insert(Mark {
                hit,
                from: self.passed,
                since: Instant::now(),
                counted: false,
                swallows: None,
                closes_when_removed: false,
            });
            mark.hit = hit;
            mark.closes_when_removed = hit && matches!(toxic.kind, Kind::Timeout { .. });
            // With others to swallow, it is asked again.
            mark.swallows = mark.swallows.filter(|swallows| *swallows);
        }
        let silenced = self.plan.silences.iter().any(|silence| {
            number < silence.before && hits(seed, silence.id, silence.toxicity, number)
        });
        if silenced && !self.void {
            self.void = true;
            self.silenced = true;
            if !self.queue.is_empty() {
                self.passage.count_silence();
            }
        }
        if self.void {
            self.queue.clear();
        }
        Ok(())
    }

    /// Makes the steps of what is at the front.
    fn prepare(&mut self) {
        while self.steps.is_empty() && !self.queue.is_empty() {
            let mut read = self.queue.pop_front().unwrap();
            let begun = *read.begun.get_or_insert_with(Instant::now);
            let plan = Arc::clone(&self.plan);
            let toxics: Vec<_> = plan
                .toxics
                .iter()
                .filter(|toxic| self.marks.get(&toxic.id).is_some_and(|mark| mark.hit))
                .collect();
            let mut at = read.at;
            for toxic in &toxics {
                let late = lateness(toxic, read.dice);
                at += late;
                if !late.is_zero() {
                    self.count_read(&mut read, toxic);
                }
            }
            let steps = match &read.what {
                What::Data(data) => {
                    let pieces = Pieces::whole(data.len(), at);
                    self.treat(pieces, &toxics, &mut read, begun)
                }
                What::End => vec![self.treat_end(at, &toxics, &mut read, begun)],
                What::Error => vec![Step::End {
                    ending: Ending::Reset,
                    at,
                    by: None,
                }],
            };
            if !steps.is_empty() {
                self.steps = steps.into();
                self.queue.push_front(read);
            }
        }
    }

    fn treat(
        &mut self,
        mut pieces: Pieces,
        toxics: &[&Arc<Installed>],
        read: &mut Read,
        begun: Instant,
    ) -> Vec<Step> {
        for toxic in toxics {
            let mark = self.marks.get_mut(&toxic.id).unwrap();
            let passed = self.passed - mark.from;
            let by = Some(toxic.kind.name());
            match toxic.kind {
                Kind::Bandwidth { rate } => {
                    pieces.pace(rate, self.free);
                    self.count_read(read, toxic);
                }
                Kind::Slicer {
                    average_size,
                    size_variation,
                    delay,
                } => {
                    let delay = Duration::from_micros(delay);
                    let mut dice = Dice::of(read.dice, toxic.id, 1);
                    let more =
                        pieces.slice(average_size, size_variation, delay, self.free, &mut dice);
                    if more || !delay.is_zero() {
                        self.count_read(read, toxic);
                    }
                }
                Kind::LimitData { bytes } | Kind::Cut { bytes, .. } => {
                    let left = bytes.saturating_sub(passed);
                    let ending = match toxic.kind {
                        Kind::Cut { reset: true, .. } => Ending::Reset,
                        _ => Ending::Close,
                    };
                    if pieces.length() >= left {
                        pieces.truncate(left, |at| Step::End { ending, at, by });
                    }
                }
                Kind::Timeout { .. } => {
                    mark.since = Instant::now();
                    pieces.vanish();
                    self.count_connection(toxic.id, "timeout");
                }
                Kind::ResetPeer { timeout } => {
                    let at = begun + Duration::from_millis(timeout);
                    let ending = Ending::Reset;
                    pieces.truncate(0, |_| Step::End { ending, at, by });
                }
                Kind::Swallow { bytes, close, .. } => {
                    let left = bytes.saturating_sub(passed);
                    if pieces.length() > left && *mark.swallows.get_or_insert_with(|| toxic.take())
                    {
                        pieces.truncate(left, |at| match close {
                            true => Step::End {
                                ending: Ending::Close,
                                at,
                                by,
                            },
                            false => Step::Void { by: "swallow" },
                        });
                    }
                }
                Kind::Latency { .. } | Kind::SlowClose { .. } | Kind::Silence {} => {}
            }
            if pieces.is_gone() {
                break;
            }
        }
        pieces.into_steps().collect()
    }

    fn treat_end(
        &mut self,
        mut at: Instant,
        toxics: &[&Arc<Installed>],
        read: &mut Read,
        begun: Instant,
    ) -> Step {
        for toxic in toxics {
            match toxic.kind {
                Kind::SlowClose { delay } => {
                    at = at.max(begun) + Duration::from_millis(delay);
                    self.count_read(read, toxic);
                }
                Kind::ResetPeer { timeout } => {
                    return Step::End {
                        ending: Ending::Reset,
                        at: begun + Duration::from_millis(timeout),
                        by: Some("reset_peer"),
                    };
                }
                _ => {}
            }
        }
        Step::Finish { at }
    }

    /// Takes the step that is due. Returns whether it was the last.
    async fn step(&mut self) -> Result<bool, Ending> {
        let Some(step) = self.steps.front_mut() else {
            return Ok(false);
        };
        match step {
            Step::Pass { length, at } => {
                let read = self.queue.front_mut().unwrap();
                let What::Data(data) = &mut read.what else {
                    unreachable!("only bytes pass")
                };
                match self.to.try_write(&data[..*length]) {
                    Ok(written) => {
                        data.advance(written);
                        self.passed += written as u64;
                        *length -= written;
                        if *length == 0 {
                            self.free = *at;
                            self.steps.pop_front();
                        }
                        if data.is_empty() && self.steps.is_empty() {
                            self.queue.pop_front();
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Err(Ending::Reset),
                }
                Ok(false)
            }
            Step::Finish { .. } => {
                let _ = self.to.shutdown().await;
                Ok(true)
            }
            Step::End { ending, by, .. } => {
                if let Some(by) = by {
                    self.passage.fired.count(by, 1);
                }
                Err(*ending)
            }
            Step::Void { by } => {
                self.passage.fired.count(by, 1);
                self.void = true;
                self.queue.clear();
                self.steps.clear();
                Ok(false)
            }
        }
    }

    fn read(&mut self) {
        let mut data = BytesMut::with_capacity(READ);
        let what = match self.from.try_read_buf(&mut data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(0) => What::End,
            Ok(_) => What::Data(data.freeze()),
            Err(_) => What::Error,
        };
        self.ended = !matches!(what, What::Data(_));
        if self.void {
            if self.silenced {
                self.passage.count_silence();
            }
            return;
        }
        self.queue.push_back(Read {
            what,
            at: Instant::now(),
            dice: self.dice.next(),
            begun: None,
            counted: Vec::new(),
        });
    }

    /// Bytes that are late leave room for others behind them; else a reader that is slow holds the writer up.
    fn reads_ahead(&self) -> bool {
        let late = |toxic: &Arc<Installed>| matches!(toxic.kind, Kind::Latency { .. });
        self.queue.len() < READ_AHEAD && self.hitting().any(late)
    }

    /// When a toxic closes the connection for want of bytes, and which.
    fn closing(&self) -> Option<(Instant, u64)> {
        self.hitting()
            .filter_map(|toxic| match toxic.kind {
                Kind::Timeout { timeout } if timeout > 0 && !self.void => {
                    let since = self.marks[&toxic.id].since;
                    Some((since + Duration::from_millis(timeout), toxic.id))
                }
                _ => None,
            })
            .min()
    }

    fn hitting(&self) -> impl Iterator<Item = &Arc<Installed>> {
        let hit = |toxic: &&Arc<Installed>| self.marks.get(&toxic.id).is_some_and(|mark| mark.hit);
        self.plan.toxics.iter().filter(hit)
    }

    fn count_read(&self, read: &mut Read, toxic: &Installed) {
        if !read.counted.contains(&toxic.id) {
            read.counted.push(toxic.id);
            self.passage.fired.count(toxic.kind.name(), 1);
        }
    }

    fn count_connection(&mut self, toxic: u64, kind: &'static str) {
        if let Some(mark) = self.marks.get_mut(&toxic)
            && !mark.counted
        {
            mark.counted = true;
            self.passage.fired.count(kind, 1);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until a step can be taken.
async fn due(step: Option<&Step>, to: &WriteHalf<'_>) {
    match step {
        Some(Step::Pass { at, .. }) => {
            sleep_until(*at).await;
            let _ = to.writable().await;
        }
        Some(Step::Finish { at } | Step::End { at, .. }) => sleep_until(*at).await,
        Some(Step::Void { .. }) => {}
        None => std::future::pending().await,
    }
}

const READ: usize = 16 * 1024;
const READ_AHEAD: usize = 1024;
