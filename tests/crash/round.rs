//! One life and one death of the program, and what its successor says.

use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::Random;
use crate::place::Place;
use crate::support::*;
use crate::verdict::{Found, Tally, agrees, found};

/// Where the records are.
pub enum Backing {
    Embedded,
    Redis(RedisServer),
}

impl Backing {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis(_) => "redis",
        }
    }
}

/// What the requests of a round are like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The time that it comes by there at which it dies.
    pub time: u64,
    /// Requests at a time.
    pub at_once: u64,
    /// Bytes of a request body; from [`BUFFERED`] on it is streamed.
    pub upload: usize,
    /// Bytes of an answer; from [`STORED`] on it is not kept.
    pub answer: usize,
}

impl Shape {
    /// The first ones are different for certain, further ones by chance.
    pub fn of(number: u64, random: &mut Random) -> Self {
        let sizes = [10, BUFFERED / 2, 8 * BUFFERED];
        let answers = [10, STORED / 2, 4 * STORED];
        let mut pick = |fixed: [usize; 3]| match usize::try_from(number) {
            Ok(number) if number < 3 => fixed[number],
            _ => usize::try_from(random.below(3)).unwrap(),
        };
        let (upload, answer, at_once) = (pick([0, 2, 1]), pick([0, 1, 2]), pick([0, 0, 1]));
        Self {
            time: 1 + random.below(3),
            at_once: [1, 4, 2][at_once],
            upload: sizes[upload],
            answer: answers[answer],
        }
    }
}

/// A request of a round, and what its client was told by the program that died.
struct Sent {
    request: Request,
    key: String,
    told: Option<Answer>,
}

pub struct Round<'a> {
    place: Place,
    shape: Shape,
    backing: &'a Backing,
    upstream: Upstream,
    config: String,
    _directory: TempDir,
}

impl<'a> Round<'a> {
    /// Plays a round, and panics where anything is not as it has to be.
    pub async fn play(backing: &'a Backing, place: Place, shape: Shape) -> (Place, Tally) {
        let directory = TempDir::new().unwrap();
        let upstream = Upstream::start().await;
        let store = match backing {
            Backing::Embedded => format!("url = \"embedded:{}\"", directory.path().display()),
            Backing::Redis(server) => {
                let prefix = uuid::Uuid::now_v7().simple();
                format!("url = \"{}\"\nprefix = \"{prefix}\"", server.url())
            }
        };
        let config = format!(
            "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\nservice = \"tests\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[store]\n{store}\ntimeout = \"10s\"\n\
             [policy]\nlease = \"500ms\"\nmax_buffered_request = \"{BUFFERED}B\"\nmax_stored_response = \"{STORED}B\"\n",
            upstream.url(),
        );
        let round = Self {
            place,
            shape,
            backing,
            upstream,
            config,
            _directory: directory,
        };
        let sent = round.until_it_dies().await;
        (place, round.again(sent).await)
    }

    /// Sends requests until the program is dead; those that it may have seen.
    async fn until_it_dies(&self) -> Vec<Sent> {
        let at = format!("{}:{}", self.place.name(), self.shape.time);
        let mut process =
            Process::start_with(PROGRAM, &self.config, &[("IDEMPROXY_CRASH_AT", &at)]).await;
        let address = process.address();
        let mut sent: Vec<Sent> = Vec::new();
        for _ in 0..LIVES {
            let wave = (0..self.shape.at_once)
                .map(|_| self.request())
                .collect::<Vec<_>>();
            let asked = wave.into_iter().map(|(key, request)| async move {
                let told = Client::try_once(address, &request).await;
                Sent { request, key, told }
            });
            let wave = join_all(asked).await;
            let over = wave.iter().any(|sent| !sent.is_answered());
            for first in wave.iter().filter(|sent| sent.is_answered()) {
                first.is_first(self);
            }
            sent.extend(wave);
            if over {
                break;
            }
            // A duplicate comes by some of the places too.
            let last = sent.last_mut().unwrap();
            match Client::try_once(address, &last.request).await {
                Some(answer) if answer.ending == Ending::Whole => {
                    agrees(self, last.told.as_ref(), &answer);
                }
                _ => break,
            }
        }
        process.ended().await;
        let log = process.whole_log().await;
        let died = format!("fault: died {}", self.place.name());
        assert!(log.contains(&died), "{self}: it did not die there:\n{log}");
        sent
    }

    /// Starts the program again on the same store, and sends every request again until it is answered for good.
    async fn again(&self, sent: Vec<Sent>) -> Tally {
        let process = Process::start(PROGRAM, &self.config).await;
        let retried = sent.iter().map(|sent| self.retry(&process, sent));
        let mut tally = Tally::of(join_all(retried).await);
        tally.died = 1;
        tally
    }

    async fn retry(&self, process: &Process, sent: &Sent) -> Found {
        let answer = patiently(async {
            loop {
                let answer = process.send(&sent.request).await;
                match found(&answer) {
                    // Nobody else can hold a claim of the embedded store.
                    Found::InProgress if matches!(self.backing, Backing::Redis(_)) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    _ => return answer,
                }
            }
        })
        .await;
        let found = found(&answer);
        let at = format!("{self}, key {}: {:?}", sent.key, sent.told);
        agrees(self, sent.told.as_ref(), &answer);
        let (finds, effects) = if sent.is_answered() {
            (&[Found::Replayed, Found::NotStored][..], 1..=1)
        } else if self.shape.at_once == 1 {
            self.place.leaves()
        } else {
            // Another one was there, and this one somewhere.
            (
                &[
                    Found::Executed,
                    Found::Replayed,
                    Found::NotStored,
                    Found::Unknown,
                ][..],
                0..=1,
            )
        };
        assert!(finds.contains(&found), "{at}, and then {answer:?}");
        if found != Found::Unknown || *effects.start() > 0 {
            // What the program has written may be still on its way.
            eventually(|| self.effects(&sent.key) >= 1).await;
        }
        assert!(
            effects.contains(&self.effects(&sent.key)),
            "{at}: {}",
            self.effects(&sent.key)
        );
        assert!(
            self.asked(&sent.key) <= 1,
            "{at}: asked {}",
            self.asked(&sent.key)
        );
        let once_more = process.send(&sent.request).await;
        agrees(self, Some(&answer), &once_more);
        assert!(
            self.effects(&sent.key) <= 1 && self.asked(&sent.key) <= 1,
            "{at}"
        );
        found
    }

    fn request(&self) -> (String, Request) {
        let key = uuid::Uuid::now_v7().to_string();
        let reply = Reply::new(201)
            .field("X-Effect", &key)
            // So that there is a connection to be opened for each.
            .field("Connection", "close")
            .body(
                key.as_bytes()
                    .iter()
                    .copied()
                    .cycle()
                    .take(self.shape.answer)
                    .collect::<Vec<_>>(),
            );
        self.upstream.next(Act::from(reply).then(Step::Fin));
        let body = vec![b'x'; self.shape.upload];
        (key.clone(), post("/orders", &key, body))
    }

    /// How often the upstream has carried a key out.
    fn effects(&self, key: &str) -> usize {
        self.entries(key, |entry| entry.whole)
    }

    /// How often it saw so much as the head of a request of it.
    fn asked(&self, key: &str) -> usize {
        self.entries(key, |_| true)
    }

    fn entries(&self, key: &str, which: impl Fn(&Entry) -> bool) -> usize {
        let ledger = self.upstream.ledger();
        ledger
            .iter()
            .filter(|entry| which(entry) && entry.field("idempotency-key") == Some(key))
            .count()
    }
}

impl Sent {
    /// Whether its client has all of an answer.
    fn is_answered(&self) -> bool {
        self.told
            .as_ref()
            .is_some_and(|told| told.ending == Ending::Whole)
    }

    fn is_first(&self, round: &Round<'_>) {
        let told = self.told.as_ref().unwrap();
        assert_eq!(found(told), Found::Executed, "{round}: {told:?}");
        assert_eq!(round.effects(&self.key), 1, "{round}");
    }
}

impl std::fmt::Display for Round<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, shape) = (self.place.name(), self.shape);
        write!(formatter, "{}, {place}, {shape:?}", self.backing.name())
    }
}

/// The program under test, built with the feature.
const PROGRAM: &str = env!("CARGO_BIN_EXE_idemproxy");
/// Bytes of a request body that are held.
const BUFFERED: usize = 16 * 1024;
/// Bytes of an answer that are kept.
const STORED: usize = 32 * 1024;
/// Waves of requests by the end of which it must be dead.
const LIVES: usize = 8;
