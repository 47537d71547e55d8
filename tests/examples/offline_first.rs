use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::Trouble;
use crate::support::{Answer, Request, eventually, patiently};
use crate::world::*;

/// What a user did, on the device until it was answered for good.
#[derive(Clone)]
struct Operation {
    key: String,
    method: &'static str,
    target: String,
    body: Value,
    /// Where its key goes: the header, or this member of the payload.
    member: Option<&'static str>,
}

impl Operation {
    fn request(&self, attempt: u32, token: &str) -> Request {
        let mut body = self.body.clone();
        body["attempt"] = json!(attempt);
        body["sent_at"] = json!(format!("2026-01-01T00:00:{attempt:02}Z"));
        let request = match self.member {
            Some(member) => {
                body[member] = json!(self.key);
                json(self.method, &self.target, &body)
            }
            None => json(self.method, &self.target, &body).field("Idempotency-Key", &self.key),
        };
        bearing(request, token)
    }
}

fn key(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn operations() -> Vec<Operation> {
    let operation = |number, method, target: &str, body, member| Operation {
        key: key(number),
        method,
        target: target.to_owned(),
        body,
        member,
    };
    let order = format!("/orders/{}", key(1));
    let create = json!({"item": "tea"});
    let update = json!({"item": "two teas", "version": 1});
    vec![
        operation(1, "POST", "/orders", create, Some("client_id")),
        operation(2, "PUT", &order, update, Some("idempotency_key")),
        operation(3, "DELETE", &order, json!({}), None),
    ]
}

/// Sends an operation until an answer is final, as the app does: its own errors are left to the user.
async fn sync(world: &World, operation: &Operation, token: &str) -> Answer {
    patiently(async {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let answer = world.send(&operation.request(attempt, token)).await;
            let again = answer.status >= 500 || answer.field("retry-after").is_some();
            if !again {
                return answer;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_queue_that_is_sent_twice_does_everything_once() {
    let world = World::of("offline-first").await;
    let mut answers = Vec::new();
    for operation in operations() {
        answers.push(sync(&world, &operation, "t").await);
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 200, 204]);
    // The page was reloaded before the queue was emptied.
    for (operation, first) in operations().iter().zip(&answers) {
        sync(&world, operation, "t").await.repeats(first);
    }
    let order = key(1);
    let done = ["created", "updated", "deleted"].map(|verb| format!("{verb} {order}"));
    assert_eq!(world.api.effects(), done);
}

#[tokio::test]
async fn a_page_that_is_reloaded_in_the_middle_of_a_request_finds_its_answer() {
    let world = World::of("offline-first").await;
    let gate = CancellationToken::new();
    let mut queue: VecDeque<_> = operations().into();
    let create = queue.pop_front().unwrap();
    world.api.next(Trouble::Slow(gate.clone()));
    let mut leaving = world.proxy.connect().await;
    leaving.send(&create.request(1, "t").bytes()).await;
    eventually(|| world.api.effects().len() == 1).await;
    leaving.abort();
    // The new page sends it again at once, in two tabs, and both wait for the answer that is on its way.
    let tabs = [create.request(2, "t"), create.request(3, "t")];
    let [one, other] = &tabs;
    let opened = async {
        world.waiting(2).await;
        gate.cancel();
    };
    let (one, other, ()) = tokio::join!(world.send(one), world.send(other), opened);
    assert_eq!(one.status, 201, "{one:?}");
    one.repeats(&other);
    other.repeats(&one);
    assert_eq!(world.api.asked(), 1);
}

#[tokio::test]
async fn a_version_conflict_is_the_apis_own_and_is_not_kept() {
    let world = World::of("offline-first").await;
    let create = operations().remove(0);
    sync(&world, &create, "t").await.is_kept(201);
    let mut update = operations().remove(1);
    update.body["version"] = json!(7);
    let conflict = world.send(&update.request(1, "t")).await;
    conflict.is_not_kept(409);
    assert_eq!(conflict.document()["error"]["code"], "version_conflict");
    // The app merges, and sends the same operation again.
    update.body["version"] = json!(1);
    world.send(&update.request(2, "t")).await.is_kept(200);
    assert_eq!(world.api.effects().len(), 2);
}

#[tokio::test]
async fn a_refreshed_token_gets_the_stored_answer_and_a_revoked_one_does_not() {
    let world = World::of("offline-first").await;
    let user = |serial| {
        use base64::Engine;
        let claims = json!({"iss": "app", "sub": "u1", "serial": serial}).to_string();
        let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(claims);
        format!("e30.{claims}.s{serial}")
    };
    let create = operations().remove(0);
    let first = world.send(&create.request(1, &user(1))).await;
    first.is_kept(201);
    world
        .send(&create.request(2, &user(2)))
        .await
        .repeats(&first);
    world.api.revoke(&format!("Bearer {}", user(3)));
    let refused = world.send(&create.request(3, &user(3))).await;
    refused.is_refused(409, "credentials-changed");
    assert_eq!(world.api.effects().len(), 1);
}

#[tokio::test]
async fn a_key_that_is_no_uuid_is_refused() {
    let world = World::of("offline-first").await;
    let mut create = operations().remove(0);
    create.key = "1".to_owned();
    let answer = world.send(&create.request(1, "t")).await;
    answer.is_refused(400, "key-invalid");
    assert_eq!(world.api.asked(), 0);
}
