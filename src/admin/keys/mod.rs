//! Records, as operators see and settle them.
//!
//! `query` reads what is asked for, `entry` says what is told of a record (never a body, a credential or a key), `change` reads an order and
//! carries it out, and `given` is the answer that an operator gives for one that was lost.

mod change;
mod entry;
mod given;
mod query;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::IF_MATCH;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Body;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::answer::{Answer, Refusal, json};
use super::body::collected;
use super::flag::{self, flag};
use super::pages::no_such_page;
use super::{Admin, Operated};
use crate::idempotency::{Key, RecordId};
use crate::store::{AnyStore, Store, StoreError};
use crate::telemetry::AdminOutcome;
use crate::wire::BoxError;

use self::change::{Act, Change};
use self::entry::Entry;
use self::query::Query;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// For the log.
    pub(super) peer: SocketAddr,
    /// A change holds its body in memory, so that not all callers can make one at once.
    pub(super) turns: Arc<Semaphore>,
}

/// `GET /v1/keys`.
pub(super) async fn list(admin: &Admin, query: Option<&str>) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct Page {
        keys: Vec<Entry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
        /// Records that cannot be read, and so not be told of.
        #[serde(skip_serializing_if = "is_none")]
        unreadable: u64,
    }
    let now = entry::now();
    let digest = |key: &Key| admin.operated.digest(key);
    let query = Query::parse(query.unwrap_or_default(), digest, now)?;
    let store = open(&*admin.operated)?;
    let listing = store
        .list(query.after, query.limit, &|listed| query.wants(listed))
        .await
        .map_err(failed)?;
    let page = Page {
        cursor: listing.next.map(|id| id.to_string()),
        keys: listing
            .records
            .iter()
            .map(|listed| Entry::listed(listed, now).under(&*admin.operated))
            .collect(),
        unreadable: listing.unreadable,
    };
    Ok(json(&page, None))
}

/// `/v1/keys/{id}` and what is below it; `rest` is what follows `/v1/keys/`.
pub(super) async fn one<B>(
    admin: &Admin,
    rest: &str,
    request: Request<B>,
    caller: Caller,
) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (id, act) = match rest.split_once('/') {
        None => (rest, None),
        Some((id, "release")) => (id, Some(Act::Release)),
        Some((id, "resolve")) => (id, Some(Act::Resolve)),
        Some(_) => return Err(no_such_page()),
    };
    let id = record_id(id)?;
    let act = match (request.method(), act) {
        (&Method::GET | &Method::HEAD, None) => {
            flag::none(request.uri().query())?;
            return show(admin, id).await;
        }
        (&Method::DELETE, None) => Act::Delete,
        (&Method::POST, Some(act)) => act,
        (_, None) => return Err(Refusal::method("GET, HEAD, DELETE")),
        (_, Some(_)) => return Err(Refusal::method("POST")),
    };
    let force = flag(request.uri().query(), "force")?;
    let (head, body) = request.into_parts();
    let _turn = caller.turns.acquire().await;
    let max_response = admin.operated.max_response();
    let body = collected(&head.headers, body, change::body_max(max_response)).await?;
    let change = Change::parse(act, &body, force, max_response)?;
    let if_match = head.headers.get(IF_MATCH).cloned();
    let store = open(&*admin.operated)?;
    let (operated, peer) = (admin.operated.clone(), caller.peer);
    let (order, metrics) = (change.order(), admin.metrics.clone());
    // On a task of its own: what is written is logged and counted, whether or not the caller stays.
    let carried_out = tokio::spawn(async move {
        let if_match = if_match.as_ref().map(HeaderValue::as_bytes);
        let done = change
            .carry_out(&*store, &*operated, id, if_match, peer)
            .await;
        let outcome = match &done {
            Ok(_) => AdminOutcome::Made,
            Err(refusal) if refusal.status.is_client_error() => AdminOutcome::Refused,
            Err(_) => AdminOutcome::Failed,
        };
        metrics.admin_changed(order, outcome);
        done
    });
    let entry = carried_out.await.map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the change was broken off: look at the record again",
        )
    })??;
    Ok(json(&entry, Some(&entry.version)))
}

async fn show(admin: &Admin, id: RecordId) -> Result<Answer, Refusal> {
    let store = open(&*admin.operated)?;
    let seen = store.look(id).await.map_err(failed)?;
    let entry = Entry::seen(id, &seen.ok_or_else(nothing_there)?, entry::now());
    let entry = entry.under(&*admin.operated);
    Ok(json(&entry, Some(&entry.version)))
}

fn open(operated: &dyn Operated) -> Result<Arc<AnyStore>, Refusal> {
    operated
        .store()
        .ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the store is not open yet"))
}

fn failed(error: StoreError) -> Refusal {
    let code = match error {
        StoreError::Unreadable(_) => "RECORD_UNREADABLE",
        StoreError::Refused(_) | StoreError::Unanswered(_) => "STORE_UNAVAILABLE",
    };
    Refusal::coded(
        StatusCode::SERVICE_UNAVAILABLE,
        code,
        format!("the store: {error}"),
    )
}

fn nothing_there() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is no record of this id: it never was, or its retention is over",
    )
}

fn record_id(text: &str) -> Result<RecordId, Refusal> {
    let id = entry::parse_id(text);
    id.ok_or_else(|| Refusal::bad("expected a record id, 32 hex digits"))
}

fn is_none(count: &u64) -> bool {
    *count == 0
}
