//! Orders as they are read, and what is told where the store does not acknowledge one.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::admin::Handling;
use crate::idempotency::sample;
use crate::idempotency::{Key, Terms, Token, digest::Digest};
use crate::store::{AnyStore, Health, Inserted, Listing, Wanted};

fn parse(act: Act, body: &str) -> Result<Change, String> {
    Change::parse(act, body.as_bytes(), false, 10).map_err(|refusal| refusal.detail.into_owned())
}

#[test]
fn a_change_takes_only_what_belongs_to_it() {
    use Act::{Delete, Release, Resolve};
    for (act, body, why) in [
        (Release, "{", "malformed JSON"),
        (Release, "[]", "object"),
        (Release, r#"{"reason": " "}"#, "reason"),
        (Release, r#"{"reason": "x", "forec": true}"#, "forec"),
        (Release, r#"{"reason": "x", "executed": true}"#, "executed"),
        (
            Delete,
            r#"{"reason": "x", "response": {"status": 200}}"#,
            "response",
        ),
        (Resolve, r#"{"reason": "x"}"#, "executed"),
        (
            Resolve,
            r#"{"reason": "x", "executed": false, "response": {"status": 200}}"#,
            "response",
        ),
        (
            Resolve,
            r#"{"reason": "x", "executed": true, "response": {"status": 99}}"#,
            "response.status",
        ),
    ] {
        let fault = parse(act, body).expect_err(body);
        assert!(fault.contains(why), "{body}: {fault}");
    }
    let change = parse(Resolve, r#"{"reason": "x", "executed": true}"#);
    assert_eq!(change.expect("valid").order, Order::Executed(None));
}

#[test]
fn a_reason_stays_on_its_line_and_is_cut() {
    let of = |reason: &str| {
        let body = serde_json::json!({ "reason": reason }).to_string();
        parse(Act::Release, &body).unwrap().reason.unwrap()
    };
    assert_eq!(of("a\nb\u{202e}ä"), "a\\nb\\u{202e}ä");
    assert_eq!(of(&"x".repeat(2_000)).len(), 500);
}

#[tokio::test]
async fn what_no_try_acknowledged_may_have_been_made_whatever_the_last_one_says() {
    let (refused, unanswered) = (
        || Err(StoreError::Refused("no connection".to_owned())),
        || Err(StoreError::Unanswered("late".to_owned())),
    );
    let unreadable = || Err(StoreError::Unreadable("newer".to_owned()));
    for replies in [
        vec![unanswered(), refused(), refused()],
        vec![unanswered(), Ok(Replaced::Stale)],
        vec![unanswered(), refused(), Ok(Replaced::Stale)],
        vec![unanswered(), unreadable(), unreadable()],
        vec![unanswered(), unanswered(), unanswered()],
    ] {
        let told = carried_out(State::Unknown, &replies).await.unwrap_err();
        assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE, "{replies:?}");
        let detail = told.detail;
        assert!(
            detail.contains("may have been made"),
            "{replies:?}: {detail}"
        );
    }
    for replies in [
        vec![Ok(Replaced::Applied)],
        vec![unanswered(), Ok(Replaced::Applied)],
        vec![unanswered(), refused(), Ok(Replaced::Applied)],
    ] {
        let entry = carried_out(State::Unknown, &replies).await;
        assert!(entry.is_ok(), "{replies:?}");
    }
    // Then it is known.
    let told = carried_out(State::Unknown, &[Ok(Replaced::Stale)]).await;
    assert_eq!(told.unwrap_err().status, StatusCode::CONFLICT);
    let told = carried_out(State::Unknown, &[refused()]).await.unwrap_err();
    assert!(!told.detail.contains("may have been made"));
}

#[tokio::test]
async fn a_lapse_is_not_believed_again_of_a_store_that_did_not_answer() {
    let unanswered = Err(StoreError::Unanswered("late".to_owned()));
    // Another try would find no reply.
    let told = carried_out(State::InFlight, &[unanswered])
        .await
        .unwrap_err();
    assert!(told.detail.contains("may have been made"));
}

/// Releases a record of this state, lapsed, where the store gives these replies to a write, each of which has to be fetched.
async fn carried_out(
    state: State,
    replies: &[Result<Replaced, StoreError>],
) -> Result<Entry, Refusal> {
    let change = parse(Act::Release, r#"{"reason": "x"}"#).unwrap();
    let replies = Mutex::new(replies.iter().cloned().collect());
    let scripted = Scripted { state, replies };
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let id = RecordId::from_bytes([1; 16]);
    let told = change.carry_out(&scripted, &Bare, id, None, peer).await;
    assert!(scripted.replies.lock().unwrap().is_empty());
    told
}

/// A store of one record, which says of writes what it is told to.
struct Scripted {
    state: State,
    replies: Mutex<VecDeque<Result<Replaced, StoreError>>>,
}

impl Store for Scripted {
    async fn insert(&self, _: RecordId, _: &Record) -> Result<Inserted, StoreError> {
        unreachable!()
    }

    async fn replace(&self, _: RecordId, _: Expect, _: &Record) -> Result<Replaced, StoreError> {
        self.replies.lock().unwrap().pop_front().unwrap()
    }

    async fn renew(&self, _: RecordId, _: Token) -> Result<Replaced, StoreError> {
        unreachable!()
    }

    async fn look(&self, _: RecordId) -> Result<Option<Seen>, StoreError> {
        Ok(Some(Seen {
            record: Record {
                state: self.state,
                ..sample::in_flight(1)
            },
            lapse: Lapse::Lapsed,
            quiet: None,
        }))
    }

    async fn list(
        &self,
        _: Option<RecordId>,
        _: usize,
        _: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        unreachable!()
    }

    fn steady(&self, _: RecordId) -> Duration {
        Duration::MAX
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

/// What operators see, without what these tests ask for.
struct Bare;

impl Operated for Bare {
    fn store(&self) -> Option<Arc<AnyStore>> {
        None
    }

    fn terms(&self, _: &str) -> Terms {
        Terms {
            lease: Duration::from_secs(3),
            retention: Duration::from_secs(60),
            failed_retention: Duration::from_secs(60),
            unknown_retention: Duration::from_secs(60),
        }
    }

    fn handling(&self, _: &str) -> Option<Handling> {
        None
    }

    fn digest(&self, _: &Key) -> Digest {
        Digest::default()
    }

    fn max_response(&self) -> u64 {
        0
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}
