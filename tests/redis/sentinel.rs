//! The primary that sentinels name: real ones where it is about Redis, and made ones where it is about what they say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use idemproxy::store::{Inserted, Location, Redis, Store, StoreSettings};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::records::*;
use crate::support::{RedisServer, Sentinels, eventually};

async fn claims(store: &Redis, number: u8) -> bool {
    matches!(
        store.insert(id(number), &claim()).await,
        Ok(Inserted::Created | Inserted::Occupied(_))
    )
}

fn says(store: &Redis, what: &str) -> bool {
    store.health().notes.iter().any(|note| note.contains(what))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_promoted_is_found_and_is_another_server() {
    let mut primary = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let mut sentinels = Sentinels::watch(primary.port(), 1);
    let confirmed = StoreSettings {
        wait_replicas: 1,
        ..settings()
    };
    let store = Redis::connect(&sentinels.url(), &confirmed).await.unwrap();
    let first = claim();
    eventually("a claim is on the replica", || async {
        match store.insert(id(1), &first).await {
            Ok(Inserted::Created) => true,
            Ok(Inserted::Occupied(seen)) => seen.record.token == first.token,
            Err(_) => false,
        }
    })
    .await;
    assert_eq!(store.health().epoch_changes, 0);
    assert!(says(
        &store,
        &format!("the primary is 127.0.0.1:{}", primary.port())
    ));
    sentinels.kill_one();
    primary.stop();
    assert_eq!(sentinels.fail_over(primary.port()).await, replica.port());
    let store = Redis::connect(&sentinels.url(), &settings()).await.unwrap();
    eventually("what was claimed is found on the replica", || async {
        matches!(store.look(id(1)).await, Ok(Some(seen)) if seen.record == first)
    })
    .await;
    assert_eq!(store.insert(id(2), &claim()).await, Ok(Inserted::Created));
    assert!(replica.get(&key(2)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_through_a_failover_and_counts_it() {
    let mut primary = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let sentinels = Sentinels::watch(primary.port(), 1);
    let store = Redis::connect(&sentinels.url(), &settings()).await.unwrap();
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    eventually("the replica follows", || async {
        replica.get(&key(1)).is_some()
    })
    .await;
    eventually("the server was seen for a while", || async {
        store.steady(id(1)) > Duration::from_secs(1)
    })
    .await;
    primary.stop();
    assert_eq!(sentinels.fail_over(primary.port()).await, replica.port());
    eventually("it works on the replica", || claims(&store, 2)).await;
    assert!(replica.get(&key(2)).is_some());
    assert_eq!(store.health().epoch_changes, 1);
    assert!(
        store.steady(id(1)) < Duration::from_secs(1),
        "another server was not seen for long"
    );
    assert!(says(
        &store,
        &format!("the primary is 127.0.0.1:{}", replica.port())
    ));
}

#[tokio::test]
async fn an_old_primary_that_still_takes_writes_is_left_for_the_one_of_a_newer_epoch() {
    let (old, mut new) = (RedisServer::start(), RedisServer::start());
    let sentinels = [
        made(1, &old).await,
        made(1, &old).await,
        made(1, &old).await,
    ];
    let store = connect(&url(&sentinels)).await;
    assert!(claims(&store, 1).await);
    assert!(old.get(&key(1)).is_some());
    sentinels[2].says(Word::Names(2, new.port()));
    eventually("the new primary is written to", || async {
        claims(&store, 2).await && new.get(&key(2)).is_some()
    })
    .await;
    // Who knew better is away, and with it the primary: those who are left know less.
    sentinels[2].says(Word::Nothing);
    new.stop();
    eventually("the older answer is not believed", || async {
        says(&store, "know less than was known before")
    })
    .await;
    assert!(!claims(&store, 3).await);
    assert_eq!(old.get(&key(3)), None);
    sentinels[2].says(Word::Names(1, old.port()));
    eventually("all were set up anew", || claims(&store, 3)).await;
    assert!(old.get(&key(3)).is_some());
}

#[tokio::test]
async fn dead_silent_and_ignorant_sentinels_are_no_obstacle() {
    let server = RedisServer::start();
    let sentinels = [
        made(1, &server).await,
        made(1, &server).await,
        made(1, &server).await,
    ];
    sentinels[0].says(Word::Nothing);
    sentinels[1].says(Word::Unknown);
    let away = RedisServer::absent(&[]);
    let url = url(&sentinels).replace("://", &format!("://127.0.0.1:{},", away.port()));
    let store = connect(&url).await;
    assert!(claims(&store, 1).await);
    assert!(store.health().up);
    sentinels[2].says(Word::Unknown);
    eventually("it is said that nobody watches", || async {
        says(&store, "a failover would not be noticed")
    })
    .await;
    assert!(claims(&store, 2).await, "and the session stands");
}

#[tokio::test]
async fn a_connection_lost_while_no_sentinel_answers_is_made_again() {
    let mut server = RedisServer::start();
    let sentinels = [made(1, &server).await, made(1, &server).await];
    let store = connect(&url(&sentinels)).await;
    assert!(claims(&store, 1).await);
    sentinels.iter().for_each(|one| one.says(Word::Nothing));
    eventually("it is said that nobody answers", || async {
        says(&store, "no sentinel answers")
    })
    .await;
    let killed = server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(killed, redis::Value::Int(3), "the connections of a session");
    eventually("it is the same server, and goes on", || claims(&store, 2)).await;
    assert!(server.get(&key(2)).is_some());
    assert_eq!(store.health().epoch_changes, 0);
    // One of them answers, and does not know: that is no silence.
    sentinels[0].says(Word::Unknown);
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("nobody vouches for it", || async {
        says(&store, "no sentinel names the primary") && !claims(&store, 3).await
    })
    .await;
    sentinels[0].says(Word::Nothing);
    eventually("they are silent again", || claims(&store, 3)).await;
    // Another process at the same address.
    server.stop();
    server.restart();
    eventually("it is not taken for the primary of before", || async {
        says(&store, "the primary of before is not there any more")
    })
    .await;
    assert!(!claims(&store, 4).await);
    assert_eq!(server.get(&key(4)), None);
    sentinels[1].says(Word::Names(1, server.port()));
    eventually("a sentinel vouches for it", || claims(&store, 4)).await;
    assert_eq!(store.health().epoch_changes, 1);
}

#[tokio::test]
async fn a_primary_that_became_a_replica_is_not_gone_back_to_in_silence() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let sentinels = [made(1, &server).await];
    let store = connect(&url(&sentinels)).await;
    assert!(claims(&store, 1).await);
    sentinels[0].says(Word::Nothing);
    eventually("it is said that nobody answers", || async {
        says(&store, "no sentinel answers")
    })
    .await;
    server.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("it is a replica", || async {
        says(&store, "the server is a replica")
    })
    .await;
    assert!(!claims(&store, 2).await);
}

#[tokio::test]
async fn a_replica_that_a_sentinel_names_is_not_written_to() {
    let primary = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let sentinels = [made(1, &replica).await];
    let store = connect(&url(&sentinels)).await;
    assert!(!claims(&store, 1).await);
    assert!(says(&store, "the server is a replica"));
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    eventually("it is the primary now", || claims(&store, 1)).await;
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_said() {
    let server = RedisServer::start();
    let sentinels = [made(1, &server).await];
    sentinels[0].says(Word::Unknown);
    let store = connect(&url(&sentinels)).await;
    assert!(!claims(&store, 1).await);
    assert!(says(&store, "the sentinels know no primary of this name"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_have_users_of_their_own() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">apfel", "~test:*", "+@all"]);
    let sentinels = Sentinels::with(server.port(), 0, "sesam");
    let url = sentinels.url().replace("://", "://app:apfel@");
    for good in [
        "sentinel_user=watcher&sentinel_password=geheim",
        "sentinel_password=sesam",
    ] {
        let store = connect(&format!("{url}?{good}")).await;
        assert!(claims(&store, 1).await, "{:?}", store.health());
        server.command(&["FLUSHALL"]);
    }
    for (bad, why) in [
        ("", "NOAUTH"),
        ("?sentinel_password=birne", "WRONGPASS"),
        (
            "?sentinel_user=watcher&sentinel_password=sesam",
            "WRONGPASS",
        ),
    ] {
        let url = format!("{url}{bad}");
        let store = connect(&url).await;
        assert!(!claims(&store, 1).await);
        assert!(says(&store, why), "{:?}", store.health());
        let told = format!("{:?} {:?}", store.health(), url.parse::<Location>());
        for secret in ["apfel", "sesam", "birne", "geheim"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

/// A sentinel that says what it is told to say.
struct Made {
    port: u16,
    word: Arc<Mutex<Word>>,
}

#[derive(Clone, Copy)]
enum Word {
    /// This port of this machine, under this epoch.
    Names(u64, u16),
    /// It does not know the name.
    Unknown,
    /// It takes questions and does not answer.
    Nothing,
}

impl Made {
    fn says(&self, word: Word) {
        *self.word.lock().unwrap() = word;
    }
}

async fn made(epoch: u64, server: &RedisServer) -> Made {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let word = Arc::new(Mutex::new(Word::Names(epoch, server.port())));
    let said = Arc::clone(&word);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&said)));
        }
    });
    Made { port, word }
}

fn url(sentinels: &[Made]) -> String {
    let hosts: Vec<String> = sentinels
        .iter()
        .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
        .collect();
    format!("redis+sentinel://{}/orders", hosts.join(","))
}

async fn answer(stream: TcpStream, word: Arc<Mutex<Word>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let words = command(&mut stream).await?;
        let named = match *word.lock().unwrap() {
            Word::Names(epoch, port) => Some((epoch.to_string(), port.to_string())),
            Word::Unknown => None,
            Word::Nothing => continue,
        };
        let bulks = |texts: &[&str]| {
            let bulks = texts
                .iter()
                .map(|text| format!("${}\r\n{text}\r\n", text.len()));
            format!("*{}\r\n{}", texts.len(), bulks.collect::<String>())
        };
        let reply = match (words.get(1).map(String::as_str), named) {
            (Some("MASTER"), Some((epoch, _))) => {
                bulks(&["name", "orders", "config-epoch", &epoch])
            }
            (Some("GET-MASTER-ADDR-BY-NAME"), Some((_, port))) => bulks(&["127.0.0.1", &port]),
            (Some("GET-MASTER-ADDR-BY-NAME"), None) => "*-1\r\n".to_owned(),
            _ => "-ERR No such master with that name\r\n".to_owned(),
        };
        stream.get_mut().write_all(reply.as_bytes()).await.ok()?;
    }
}

/// Reads `*2\r\n$4\r\nPING\r\n…`; nothing where the connection ended.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..number(stream).await? {
        let mut word = vec![0; number(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(word.trim_ascii_end()).into_owned());
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim_end().parse().ok()
}
