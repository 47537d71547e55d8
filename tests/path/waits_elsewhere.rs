//! Duplicates that wait for a request which another instance works on.

use super::STORE;
use crate::support::*;
use crate::world::*;

const WAIT: &str = "[policy]\nin_flight = \"wait\"\nwait_timeout = \"10m\"\nclient_timeout = \"10m\"\n";

/// As long as a killed holder's lease has those wait.
const LEASE: &str = "lease = \"2s\"\n";

const WAITERS: &str = "idemproxy_waiters";

/// A process that works on a request, and another instance in this one, on the same store.
async fn two(policy: &str) -> (ProcessWorld, Proxy, Request, Client, Gate) {
    let world = ProcessWorld::config(STORE, &format!("{WAIT}{policy}")).await;
    let other = Proxy::start(world.configuration()).await;
    let gate = Gate::new();
    let reply = Reply::new(201).body("made");
    world.upstream.next(reply.after(&gate));
    let request = post("/orders", "k", "a");
    let mut first = world.proxy.connect().await;
    first.send(&request.bytes()).await;
    world.upstream.executed(1).await;
    (world, other, request, first, gate)
}

async fn waits(other: &Proxy, request: &Request) -> Client {
    let mut client = other.connect().await;
    client.send(&request.bytes()).await;
    other.reaches(WAITERS, 1.0).await;
    client
}

#[tokio::test]
async fn a_duplicate_at_another_instance_gets_the_answer_when_it_is_there() {
    let (world, other, request, mut first, gate) = two("").await;
    let mut second = waits(&other, &request).await;
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    second.answer().await.replays(&first);
    let waited = r#"idemproxy_requests_total{route="default",outcome="waited"}"#;
    assert_eq!(other.metric(waited), 1.0);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn those_who_wait_survive_the_death_of_the_instance_that_worked_for_them() {
    let (mut world, other, request, _first, _gate) = two(LEASE).await;
    let mut second = waits(&other, &request).await;
    world.proxy.kill().await;
    second
        .answer()
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn those_who_waited_for_an_instance_that_died_take_over_at_their_next_try() {
    let (mut world, other, request, _first, _gate) = two(&format!("{LEASE}unknown_outcome = \"retry\"\n")).await;
    let mut second = waits(&other, &request).await;
    world.proxy.kill().await;
    second.answer().await.is_problem(409, "in-progress");
    assert_eq!(world.upstream.asked(), 1);
    let third = patiently(async {
        loop {
            let answer = other.send(&request).await;
            if answer.status != 409 {
                return answer;
            }
            answer.is_problem(409, "in-progress");
        }
    })
    .await;
    third.is_first(201, true, "completed");
    assert_eq!(world.upstream.last().all("x-idempotency-attempt"), ["2"]);
}
