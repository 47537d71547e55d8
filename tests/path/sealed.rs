//! Encryption of what is stored, and the secret under which it is hashed: all goes on as without, and a dump tells nothing.

use base64::prelude::*;
use idemproxy::idempotency::{Caller, Fingerprint, Key, Secret};
use tempfile::TempDir;

use crate::support::*;
use crate::world::*;

/// Files with keys and secrets.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// A file with the key of this number.
    fn key(&self, number: u8) -> String {
        self.write(
            &format!("key{number}"),
            &BASE64_STANDARD.encode([number; 32]),
        )
    }

    /// A file with the secret of this number.
    fn secret(&self, number: u8) -> String {
        self.write(&format!("secret{number}"), &SECRET.repeat(number.into()))
    }

    /// `[store]` with these keys and this secret; 0 is none.
    fn store(&self, keys: &[u8], secret: u8) -> String {
        let mut store = "[store]\ntimeout = \"10s\"\n".to_owned();
        if !keys.is_empty() {
            let keys: Vec<String> = keys.iter().map(|number| self.key(*number)).collect();
            store += &format!("encryption_keys = {keys:?}\n");
        }
        if secret > 0 {
            store += &format!("secret_file = {:?}\n", self.secret(secret));
        }
        store
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

const SECRET: &str = "a secret that is long enough to be one";
const STORES: [Backing; 3] = [Backing::Memory, Backing::Embedded, Backing::Redis];

/// Another proxy on the store and the upstream of a world.
async fn beside(world: &World, sections: &str) -> Proxy {
    Proxy::start(&configuration(&world.upstream, &world.kept.url, sections)).await
}

#[tokio::test]
async fn small_and_large_answers_are_replayed_in_every_store() {
    let files = Files::new();
    for backing in STORES {
        let world = World::config(backing, &files.store(&[1], 1)).await;
        for (key, size) in [("none", 0), ("small", 10), ("large", 900_000)] {
            let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let reply = Reply::new(201).field("X-Order", "7").body(&body);
            world.upstream.next(reply);
            let first = world.post(key, "a").await;
            first.is_first(201, true, "completed");
            assert_eq!(first.body, body);
            for _ in 0..2 {
                world.post(key, "a").await.replays(&first);
            }
        }
        assert_eq!(world.upstream.asked(), 3, "{backing:?}");
    }
}

#[tokio::test]
async fn what_differs_is_refused_under_a_secret_and_what_does_not_is_replayed() {
    let files = Files::new();
    for (policy, body, other) in [
        ("", "a".to_owned(), "b".to_owned()),
        (
            "max_buffered_request = \"1KiB\"\n",
            "a".repeat(5000),
            "b".repeat(5000),
        ),
        (
            "fingerprint = [\"json-body\"]\n",
            "{\"a\":1}".to_owned(),
            "{\"a\":2}".to_owned(),
        ),
    ] {
        let sections = format!("{}[policy]\n{policy}", files.store(&[], 1));
        let world = World::config(Backing::Redis, &sections).await;
        let first = world.post("k", &body).await;
        first.is_first(201, true, "completed");
        world.post("k", &body).await.replays(&first);
        let reused = world.post("k", &other).await;
        reused.is_problem(422, "key-reused");
        assert!(reused.text().contains("body"), "{reused:?}");
        assert_eq!(world.upstream.asked(), 1, "{policy}");
    }
}

#[tokio::test]
async fn the_same_credentials_are_the_same_under_a_secret_and_others_are_others() {
    let files = Files::new();
    let world = World::config(Backing::Redis, &files.store(&[], 1)).await;
    let by = |password: &str| {
        let pair = BASE64_STANDARD.encode(format!("alice:{password}"));
        post("/orders", "k", "a").field("Authorization", format!("Basic {pair}"))
    };
    let first = world.send(&by("1")).await;
    first.is_first(201, true, "completed");
    world.send(&by("1")).await.replays(&first);
    let others = world.send(&by("2")).await;
    others.is_problem(409, "credentials-changed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn what_is_observed_is_met_again_under_a_secret() {
    const OF: &str = "idemproxy_requests_total{route=\"default\",outcome=";
    let files = Files::new();
    let store = files.store(&[1], 1);
    for limit in ["", "max_buffered_request = \"10\"\n"] {
        let sections = format!("{store}[policy]\nmode = \"observe\"\n{limit}");
        let world = World::config(Backing::Redis, &sections).await;
        let counted = async |outcome: &str| {
            let line = format!("{OF}\"{outcome}\"}}");
            patiently(async {
                while world.proxy.metric(&line) != 1.0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        };
        let large = ["a".repeat(100), "b".repeat(100)];
        world.post("k", &large[0]).await;
        counted("observed_executed").await;
        world.post("k", &large[0]).await;
        counted("observed_replayed").await;
        world.post("k", &large[1]).await;
        counted("observed_key_reused").await;
        assert_eq!(world.upstream.asked(), 3);
    }
}

#[tokio::test]
async fn another_secret_has_records_of_its_own() {
    let files = Files::new();
    let world = World::config(Backing::Redis, &files.store(&[], 0)).await;
    let first = world.post("k", "a").await;
    let mut ids = vec![first.field("x-idempotency-id")];
    for secret in [1, 2] {
        let proxy = beside(&world, &files.store(&[], secret)).await;
        let request = post("/orders", "k", "another body");
        let answer = proxy.send(&request).await;
        answer.is_first(201, true, "completed");
        proxy.send(&request).await.replays(&answer);
        ids.push(answer.field("x-idempotency-id"));
    }
    let replay = world.post("k", "a").await;
    replay.replays(&first);
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), world.upstream.asked()), (3, 3));
}

#[tokio::test]
async fn keys_are_changed_without_a_request_that_runs_twice() {
    let files = Files::new();
    for size in [10, 200_000] {
        let body = "x".repeat(size);
        let world = World::config(Backing::Redis, &files.store(&[], 0)).await;
        let mut firsts = Vec::new();
        // As they follow one another in a fleet: each reads what the one before and the one after it write.
        for (step, keys) in [&[][..], &[1], &[1, 2], &[2, 1], &[2]].iter().enumerate() {
            let proxy = beside(&world, &files.store(keys, 0)).await;
            world.upstream.next(Reply::new(201).body(&body));
            let request = post("/orders", &format!("k{step}"), "a");
            let first = proxy.send(&request).await;
            first.is_first(201, true, "completed");
            proxy.send(&request).await.replays(&first);
            firsts.push((request, first));
        }
        let asked = world.upstream.asked();
        let last = beside(&world, &files.store(&[2], 0)).await;
        for (step, (request, first)) in firsts.iter().enumerate() {
            let answer = last.send(request).await;
            if [1, 2].contains(&step) {
                answer.is_problem(503, "record-unreadable");
            } else {
                answer.replays(first);
            }
        }
        // And back: who has the key reads them all.
        let both = beside(&world, &files.store(&[1, 2], 0)).await;
        for (request, first) in &firsts {
            both.send(request).await.replays(first);
        }
        // One without keys, as after a step back, says so of what it cannot read.
        for (step, (request, first)) in firsts.iter().enumerate() {
            let answer = world.send(request).await;
            if step == 0 {
                answer.replays(first);
            } else {
                answer.is_problem(503, "record-unreadable");
            }
        }
        assert_eq!(world.upstream.asked(), asked);
    }
}

/// All bytes of a Redis, as it would write them to its disk.
fn dump(world: &World) -> Vec<u8> {
    let redis = world.kept.redis.as_ref().unwrap();
    redis.command(&["CONFIG", "SET", "rdbcompression", "no"]);
    redis.command(&["SAVE"]);
    std::fs::read(redis.directory().join("dump.rdb")).unwrap()
}

#[tokio::test]
async fn a_dump_of_redis_tells_no_key_no_credentials_and_no_answer() {
    let files = Files::new();
    let authorization = format!("Basic {}", BASE64_STANDARD.encode("alice:hunter2"));
    let key = Key::bare(b"order-4711", 255).unwrap();
    let mut whole = Fingerprint::default();
    whole.add("body", b"pin=1234");
    let caller = Caller::from_authorization(Some(authorization.as_bytes()));
    let mut hashes = vec![
        Secret::none().key(&key).to_vec(),
        caller.credentials.unwrap().to_vec(),
    ];
    hashes.extend(whole.parts().map(|part| part.digest.to_vec()));
    let answer = ["paid by card 4242", "x-receipt", "r-99"].map(|text| text.as_bytes().to_vec());
    let said = [&b"order-4711"[..], b"hunter2", b"alice", b"pin=1234"];
    let request = post("/orders", "order-4711", "pin=1234").field("Authorization", authorization);

    let mut ids = Vec::new();
    for (keys, secret) in [(&[][..], 0), (&[1][..], 1)] {
        let world = World::config(Backing::Redis, &files.store(keys, secret)).await;
        let reply = Reply::new(201).field("X-Receipt", "r-99");
        world.upstream.next(reply.body("paid by card 4242"));
        let first = world.send(&request).await;
        first.is_first(201, true, "completed");
        world.send(&request).await.replays(&first);
        let (gate, running) = (Gate::new(), post("/orders", "order-4711-b", "pin=1234"));
        world.upstream.next(Reply::new(201).after(&gate));
        let mut client = world.begin(&running).await;
        world.upstream.executed(2).await;
        let dump = dump(&world);
        gate.cancel();
        client.answer().await;

        let id = first.field("x-idempotency-id").unwrap();
        let shows = |bytes: &[u8]| dump.windows(bytes.len()).any(|found| found == bytes);
        assert!(shows(id.as_bytes()) && shows(b"/orders"));
        assert!(!said.iter().any(|text| shows(text)));
        let in_clear = secret == 0;
        for (index, secret) in hashes.iter().chain(&answer).enumerate() {
            assert_eq!(shows(secret), in_clear, "{index}");
        }
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}
