//! A proxy that is killed, and another in its place: only on stores that survive it.

use super::STORE;
use crate::support::*;
use crate::world::*;

/// As long as a killed holder's lease blocks its key, where the store is on another machine.
const POLICY: &str = "[policy]\nlease = \"1s\"\n";

#[tokio::test]
async fn what_ran_when_the_proxy_was_killed_is_unknown() {
    let mut world = ProcessWorld::config(STORE, POLICY).await;
    world.upstream.next(Act::new([Step::Never]));
    let request = post("/orders", "k", "a");
    let mut client = world.proxy.connect().await;
    client.send(&request.bytes()).await;
    world.upstream.executed(1).await;
    world.crash().await;
    let answer = if STORE == Backing::Embedded {
        // Nobody else can hold a claim of this store: known at once.
        world.proxy.send(&request).await
    } else {
        world.settled(&request).await
    };
    answer
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    let other = post("/orders", "k", "b");
    world
        .proxy
        .send(&other)
        .await
        .is_problem(422, "key-reused");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn what_ran_when_the_proxy_was_killed_is_taken_over_where_the_policy_says_so() {
    let mut world =
        ProcessWorld::config(STORE, &format!("{POLICY}unknown_outcome = \"retry\"\n")).await;
    world.upstream.next(Act::new([Step::Never]));
    let request = post("/orders", "k", "a");
    let mut client = world.proxy.connect().await;
    client.send(&request.bytes()).await;
    world.upstream.executed(1).await;
    world.crash().await;
    let second = world.settled(&request).await;
    second.is_first(201, true, "completed");
    assert_eq!(world.upstream.last().all("x-idempotency-attempt"), ["2"]);
    world.proxy.send(&request).await.replays(&second);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn what_ran_when_the_proxy_was_killed_is_asked_about_where_the_policy_says_so() {
    let probe = "unknown_outcome = \"probe\"\nprobe = { path = \"/orders/{key}\", after = \"2s\" }\n";
    let mut world = ProcessWorld::config(STORE, &format!("{POLICY}{probe}")).await;
    let (known, lost) = (post("/orders", "known", "a"), post("/orders", "lost", "a"));
    for (number, request) in [&known, &lost].into_iter().enumerate() {
        world.upstream.next(Act::new([Step::Never]));
        let mut client = world.proxy.connect().await;
        client.send(&request.bytes()).await;
        world.upstream.executed(number + 1).await;
    }
    world.crash().await;
    world.upstream.next(Reply::new(200).body("row"));
    let found = world.settled(&known).await;
    assert_eq!((found.status, found.text()), (200, "row".to_owned()));
    world.proxy.send(&known).await.replays(&found);

    let answer = patiently(async {
        loop {
            world.upstream.next(Reply::new(404));
            let answer = world.proxy.send(&lost).await;
            if answer.status != 409 {
                return answer;
            }
            answer.is_problem(409, "in-progress");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    answer.is_first(201, true, "completed");
    let last = world.upstream.last();
    assert_eq!(last.all("x-idempotency-attempt"), ["2"]);
    let executed = world.upstream.ledger().into_iter();
    assert_eq!(executed.filter(|entry| entry.method == "POST").count(), 3);
}

#[tokio::test]
async fn an_upload_that_ran_when_the_proxy_was_killed_is_unknown_for_good() {
    let mut world = ProcessWorld::config(
        STORE,
        &format!("{POLICY}unknown_outcome = \"retry\"\nmax_buffered_request = \"1KiB\"\n"),
    )
    .await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let mut client = world.proxy.connect().await;
    client.send(&request.head(5000)).await;
    client.send(&request.body[..2000]).await;
    world.upstream.asked_for(1).await;
    world.crash().await;
    world
        .settled(&request)
        .await
        .is_problem(409, "outcome-unknown");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn what_was_answered_before_the_proxy_was_killed_is_replayed() {
    let mut world = ProcessWorld::config(STORE, POLICY).await;
    world.upstream.next(
        Reply::new(201)
            .field("X-Part", "1")
            .field("X-Part", "2")
            .body(b"\0\xff"),
    );
    let request = post("/orders", "k", "a");
    let first = world.proxy.send(&request).await;
    first.is_first(201, true, "completed");
    world.upstream.next(Reply::new(402).body("declined"));
    let declined = post("/orders", "l", "a");
    let refused = world.proxy.send(&declined).await;
    refused.is_first(402, true, "completed");
    for _ in 0..2 {
        world.crash().await;
        world.proxy.send(&request).await.replays(&first);
        world.proxy.send(&declined).await.replays(&refused);
    }
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn what_was_released_before_the_proxy_was_killed_is_free() {
    let mut world = ProcessWorld::config(STORE, POLICY).await;
    world.upstream.next(Reply::new(503));
    let request = post("/orders", "k", "a");
    world
        .proxy
        .send(&request)
        .await
        .is_first(503, false, "released");
    world.crash().await;
    world
        .proxy
        .send(&request)
        .await
        .is_first(201, true, "completed");
}

#[tokio::test]
async fn a_holder_that_slept_through_its_lease_does_not_overwrite_the_next_one() {
    if STORE != Backing::Redis {
        return;
    }
    let policy = format!("{POLICY}unknown_outcome = \"retry\"\n");
    let world = ProcessWorld::config(STORE, &policy).await;
    let other = Process::start(PROGRAM, world.configuration()).await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(201).body("first").after(&gate))
        .next(Reply::new(201).body("second"));
    let request = post("/orders", "k", "a");
    let mut first = world.proxy.connect().await;
    first.send(&request.bytes()).await;
    world.upstream.executed(1).await;
    world.proxy.freeze().await;
    // The first duplicates are refused: the store was not watched for a whole lease yet, or the lease is live.
    let second = patiently(async {
        loop {
            let answer = other.send(&request).await;
            if answer.status == 201 {
                return answer;
            }
            answer.is_problem(409, "in-progress");
        }
    })
    .await;
    second.is_first(201, true, "completed");
    world.proxy.thaw().await;
    gate.cancel();
    let late = first.answer().await;
    assert_eq!(late.text(), "first");
    late.is_first(201, false, "completed");
    other.send(&request).await.replays(&second);
    world.proxy.send(&request).await.replays(&second);
    assert_eq!(world.upstream.executions(), 2);
}
