//! The program killed while it works for several clients, again and again on the same directory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::chance::Chance;
use crate::length;
use crate::support::{Act, Answer, Process, Reply, Request, Step, Upstream, eventually, post};
use crate::world::{PROGRAM, Says, configuration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_lost_to_kills_and_nothing_runs_twice() {
    let kills = length("IDEMPROXY_KILLS", 15);
    let mut chance = Chance::of_this_run("kills");
    let mut total = Sum::default();
    while total.kills < kills {
        let houses = (0..AT_ONCE).filter_map(|house| {
            let left = (kills - total.kills)
                .saturating_sub(house * KILLS)
                .min(KILLS);
            (left > 0).then(|| tokio::spawn(House::run(chance.fork(), left)))
        });
        for house in join_all(houses.collect::<Vec<_>>()).await {
            total.add(&house.unwrap());
        }
    }
    println!("kills: {total:#?}");
    assert_eq!(total.kills_with_work, total.kills);
    assert!(total.answered > total.kills * 10);
    assert!(total.unknown >= total.held && total.held >= total.kills);
    assert!(total.replayed > total.answered);
}

/// What happened.
#[derive(Clone, Debug, Default)]
struct Sum {
    kills: usize,
    /// Of them, those that left outcomes unknown.
    kills_with_work: usize,
    /// Answers that clients got first, with a promise that they are stored.
    answered: usize,
    /// Requests that the upstream held when the program was killed.
    held: usize,
    /// What became of requests that were in flight: unknown, completed, or never begun.
    unknown: usize,
    completed: usize,
    never_begun: usize,
    /// Replays compared with the first answer.
    replayed: usize,
    /// Effects at the upstream; of no key more than one.
    effects: usize,
}

/// One directory, its upstream, and the program, started again and again.
struct House {
    upstream: Upstream,
    config: String,
    process: Process,
    chance: Chance,
    /// What was answered for good.
    answered: Vec<(Request, Answer)>,
    unknown: Vec<Request>,
    sum: Sum,
}

impl House {
    async fn run(mut chance: Chance, kills: usize) -> Sum {
        let mut dir = TempDir::new().unwrap();
        dir.disable_cleanup(true);
        let upstream = Upstream::start().await;
        let config = configuration(&upstream, &format!("embedded:{}", dir.path().display()), "");
        let mut house = Self {
            process: Process::start(PROGRAM, &config).await,
            chance: chance.fork(),
            upstream,
            config,
            answered: Vec::new(),
            unknown: Vec::new(),
            sum: Sum::default(),
        };
        for _ in 0..kills {
            house.live_and_be_killed().await;
        }
        house.replays(house.answered.len()).await;
        house.count_effects();
        println!("{} kills in {}", house.sum.kills, dir.path().display());
        dir.disable_cleanup(false);
        house.sum
    }

    /// Clients at work until the program is killed; then what they find when it runs again.
    async fn live_and_be_killed(&mut self) {
        let enough = self.chance.within(10..50);
        let held = self.chance.within(1..4);
        self.script(enough, held);
        let answers = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let prefix = format!("{}-{client}", self.sum.kills);
                let connecting = self.process.address();
                tokio::spawn(client_at_work(connecting, prefix, Arc::clone(&answers)))
            })
            .collect();
        eventually(|| answers.load(Ordering::SeqCst) >= enough).await;
        // Anywhere in what they do next.
        let moment = Duration::from_micros(self.chance.below(4000) as u64);
        tokio::time::sleep(moment).await;
        self.process.kill().await;
        self.sum.kills += 1;
        self.sum.held += held;
        let mut in_flight = Vec::new();
        for client in clients {
            let (answered, last) = client.await.unwrap();
            self.sum.answered += answered.len();
            self.answered.extend(answered);
            in_flight.push(last);
        }

        self.process = Process::start(PROGRAM, &self.config).await;
        let before = self.unknown.len();
        for request in in_flight {
            self.retry(request).await;
        }
        let unknown = self.unknown.len() - before;
        assert!(unknown >= held, "{unknown} unknown of {held} that ran");
        self.sum.kills_with_work += usize::from(unknown > 0);
        self.replays(enough + 10).await;
        for _ in 0..3 {
            let request = &self.unknown[self.chance.below(self.unknown.len())];
            let answer = self.process.send(request).await;
            answer
                .is_problem(409, "outcome-unknown")
                .in_state("unknown");
        }
    }

    /// So many answers of all sizes, and among the first some that never come.
    fn script(&mut self, answers: usize, held: usize) {
        let mut acts: Vec<Act> = (0..answers)
            .map(|number| {
                let size = match self.chance.below(20) {
                    0 => self.chance.within(4000..66_000),
                    _ => self.chance.below(1500),
                };
                let mut body = vec![0; size];
                self.chance.fill(&mut body);
                let status = self.chance.pick(&[200, 201, 201, 402]);
                let reply = Reply::new(status)
                    .field("X-Part", "1")
                    .field("X-Part", [b't', 0xf6]);
                reply
                    .field("X-Number", number.to_string())
                    .body(body)
                    .into()
            })
            .collect();
        for _ in 0..held {
            let place = self.chance.below(answers);
            acts.insert(place, Act::new([Step::Never]));
        }
        for act in acts {
            self.upstream.next(act);
        }
    }

    /// The first word on a request that was in flight when the program was killed.
    async fn retry(&mut self, request: Request) {
        let answer = self.process.send(&request).await;
        if answer.status == 409 {
            answer
                .is_problem(409, "outcome-unknown")
                .in_state("unknown");
            self.sum.unknown += 1;
            self.unknown.push(request);
        } else if answer.field("x-idempotency-replay").is_some() {
            self.sum.completed += 1;
            self.answered.push((request, answer));
        } else {
            // Its claim was not written; so it never ran, which the ledger tells in the end.
            answer.is_first(201, true, "completed");
            self.sum.never_begun += 1;
            self.answered.push((request, answer));
        }
    }

    /// Compares the latest so many answers, and some of the others, with what is replayed.
    async fn replays(&mut self, latest: usize) {
        let count = self.answered.len();
        let older = (0..10)
            .map(|_| self.chance.below(count))
            .collect::<Vec<_>>();
        let places = (count.saturating_sub(latest)..count).chain(older);
        let mut client = self.process.connect().await;
        for place in places {
            let (request, first) = &self.answered[place];
            client.send(&request.bytes()).await;
            let answer = client.answer().await;
            answer.replays(first);
            self.sum.replayed += 1;
        }
    }

    fn count_effects(&mut self) {
        let mut effects = HashMap::new();
        for entry in self.upstream.ledger() {
            let key = entry.field("idempotency-key").unwrap().to_owned();
            *effects.entry(key).or_insert(0) += 1;
        }
        for (key, count) in &effects {
            assert_eq!(*count, 1, "{key} was sent {count} times");
        }
        for (request, _) in &self.answered {
            let key = String::from_utf8_lossy(&request.fields[1].1);
            assert!(
                effects.contains_key(&*key),
                "{key} was answered and never ran"
            );
        }
        self.sum.effects += effects.len();
    }
}

/// Sends one request after the other, until the program is gone: what was answered, and the request that was not.
async fn client_at_work(
    address: std::net::SocketAddr,
    prefix: String,
    answers: Arc<AtomicUsize>,
) -> (Vec<(Request, Answer)>, Request) {
    let mut client = crate::support::Client::connect(address).await;
    let mut answered = Vec::new();
    for number in 0.. {
        let request = post("/orders", &format!("{prefix}-{number}"), [0, 255, 10]);
        client.send(&request.bytes()).await;
        let Some(answer) = client.answer_before_the_end().await else {
            return (answered, request);
        };
        answer.is_first(answer.status, true, "completed");
        answered.push((request, answer));
        answers.fetch_add(1, Ordering::SeqCst);
    }
    unreachable!("it works until the program is gone")
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.kills_with_work += other.kills_with_work;
        self.answered += other.answered;
        self.held += other.held;
        self.unknown += other.unknown;
        self.completed += other.completed;
        self.never_begun += other.never_begun;
        self.replayed += other.replayed;
        self.effects += other.effects;
    }
}

/// Kills in one directory.
const KILLS: usize = 50;
/// Directories at a time.
const AT_ONCE: usize = 4;
/// Clients at a time; three of them at most wait for what never comes.
const CLIENTS: usize = 8;
