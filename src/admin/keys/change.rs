//! What an operator orders, read and carried out.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;

use super::entry::{self, Entry};
use super::given::given;
use super::{failed, nothing_there};
use crate::admin::Operated;
use crate::admin::answer::Refusal;
use crate::admin::body::Fields;
use crate::idempotency::json::Json;
use crate::idempotency::operator::{Order, Refused, ordered};
use crate::idempotency::{Expect, Lapse, Record, RecordId, Seen, State};
use crate::store::{Replaced, Store, StoreError};
use crate::telemetry::{AdminOrder, plain};

/// What an operator orders, and why if that is told.
#[derive(Debug)]
pub(super) struct Change {
    order: Order,
    force: Force,
    reason: Option<String>,
    /// The record has to be this one.
    version: Option<String>,
}

/// What an order overrides.
#[derive(Debug)]
enum Force {
    Nothing,
    Everything,
    /// The refusal of this code, which is what the operator saw and agreed to; no other that came about since.
    One(String),
}

/// Which order it is, by method and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Release,
    Resolve,
    Delete,
}

impl Change {
    /// Reads the body; `force` where the query has it. `max_response` is the size of the largest body that any route keeps.
    pub(super) fn parse(
        act: Act,
        body: &[u8],
        force: bool,
        max_response: u64,
    ) -> Result<Self, Refusal> {
        let mut fields = Fields::parse(body)?;
        let reason = fields.text("reason")?;
        let reason = reason.as_deref().map(str::trim);
        if reason.is_some_and(str::is_empty) {
            return Err(fields.fault("reason", "why it is done, which is logged, or none"));
        }
        let force = match fields.take("force") {
            Some(Json::String(code)) if FORCED.contains(&&*code) => Force::One(code),
            Some(Json::Bool(true)) => Force::Everything,
            None | Some(Json::Bool(false)) if force => Force::Everything,
            None | Some(Json::Bool(false)) => Force::Nothing,
            Some(_) => {
                return Err(fields.fault(
                    "force",
                    "true, false or the code of a refusal that it overrides",
                ));
            }
        };
        let version = fields.text("version")?;
        let executed = fields.flag("executed")?;
        let response = fields.fields("response", "response.")?;
        let order = match (act, executed, response) {
            (Act::Release, None, None) => Order::Release,
            (Act::Delete, None, None) => Order::Delete,
            (Act::Release | Act::Delete, ..) => {
                return Err(Refusal::bad(
                    "executed, response: only a resolution takes these",
                ));
            }
            (Act::Resolve, None, _) => {
                return Err(fields.fault("executed", "true or false"));
            }
            (Act::Resolve, Some(true), response) => {
                let response = response.map(|response| given(response, max_response));
                Order::Executed(response.transpose()?)
            }
            (Act::Resolve, Some(false), None) => Order::NotExecuted,
            (Act::Resolve, Some(false), Some(_)) => {
                return Err(fields.fault("response", "only with executed: true"));
            }
        };
        fields.end(match act {
            Act::Resolve => "reason, force, version, executed, response",
            Act::Release | Act::Delete => "reason, force, version",
        })?;
        Ok(Self {
            order,
            force,
            reason: reason.map(|reason| plain(reason.chars().take(REASON_MAX))),
            version,
        })
    }

    /// Its name in the metrics.
    pub(super) fn order(&self) -> AdminOrder {
        match self.order {
            Order::Release => AdminOrder::Release,
            Order::Delete => AdminOrder::Delete,
            Order::Executed(_) => AdminOrder::ResolveExecuted,
            Order::NotExecuted => AdminOrder::ResolveNotExecuted,
        }
    }

    /// Reads the record, checks that it is the one that was shown, and writes over that very one. Tells what it has become.
    pub(super) async fn carry_out<S: Store>(
        self,
        store: &S,
        operated: &dyn Operated,
        id: RecordId,
        if_match: Option<&[u8]>,
        peer: SocketAddr,
    ) -> Result<Entry, Refusal> {
        let seen = store.look(id).await.map_err(failed)?;
        let seen = seen.ok_or_else(nothing_there)?;
        self.check_version(&seen.record, if_match)?;
        let (name, before) = (name(&self.order), seen.state());
        let route = seen.record.origin.route();
        let (steady, terms, now) = (store.steady(id), operated.terms(route), entry::now());
        let token = store.fresh_token(now);
        let order = |force| {
            let order = self.order.clone();
            ordered(Some(&seen), steady, order, force, token, terms, now)
        };
        let forced = match &self.force {
            Force::Nothing => false,
            Force::Everything => true,
            Force::One(agreed) => order(false).is_err_and(|why| code(why) == agreed),
        };
        let (expect, record) = order(forced).map_err(refused)?;
        let replaced = write(store, id, expect, &record).await;
        let outcome = match &replaced {
            Ok(Replaced::Stale) => return Err(changed()),
            Ok(Replaced::Applied | Replaced::Restored) => "an operator changed a record",
            Err(StoreError::Unanswered(_)) => "an operator's change of a record may have been made",
            Err(_) => "an operator's change of a record was not made",
        };
        tracing::info!(
            %id,
            order = name,
            forced,
            reason = self.reason.as_deref().unwrap_or("none given"),
            %peer,
            route = record.origin.route(),
            before = before.name(),
            after = record.state.name(),
            "{outcome}"
        );
        replaced.map_err(unanswered)?;
        let written = Seen {
            lapse: Lapse::Live,
            quiet: Some(Duration::ZERO),
            record,
        };
        Ok(Entry::seen(id, &written, entry::now()).under(operated))
    }

    fn check_version(&self, record: &Record, if_match: Option<&[u8]>) -> Result<(), Refusal> {
        let version = entry::version(record);
        let named = self.version.as_ref().is_none_or(|named| *named == version);
        let tag = format!("\"{version}\"");
        let matches = |tags: &[u8]| {
            let mut tags = tags.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            tags.any(|given| given == b"*" || given == tag.as_bytes())
        };
        if named && if_match.is_none_or(matches) {
            return Ok(());
        }
        Err(Refusal::coded(
            StatusCode::PRECONDITION_FAILED,
            "VERSION_DIFFERS",
            "the record is another than the one that was shown: look at it again",
        ))
    }
}

/// Writes it, more than once where that is not acknowledged: the same again changes nothing if the first try arrived.
async fn write<S: Store>(
    store: &S,
    id: RecordId,
    expect: Expect,
    record: &Record,
) -> Result<Replaced, StoreError> {
    let first = store.replace(id, expect, record).await;
    let doubted = matches!(first, Err(StoreError::Unanswered(_)));
    // A store that was lost may come back as a replica without the last heartbeats, and is watched anew before it is believed.
    if !doubted || matches!(expect, Expect::Lapsed(_)) {
        return first;
    }
    for _ in 0..TRIES {
        match store.replace(id, expect, record).await {
            // What the first try wrote may have been written over since.
            Ok(Replaced::Stale) => break,
            Err(_) => {}
            applied => return applied,
        }
    }
    first
}

fn name(order: &Order) -> &'static str {
    match order {
        Order::Release => "release",
        Order::Delete => "delete",
        Order::Executed(Some(_)) => "resolve as executed, with an answer",
        Order::Executed(None) => "resolve as executed",
        Order::NotExecuted => "resolve as not executed",
    }
}

fn unanswered(error: StoreError) -> Refusal {
    let told = matches!(error, StoreError::Unanswered(_))
        .then_some("; the change may have been made: look at the record again");
    let mut refusal = failed(error);
    refusal.detail.to_mut().push_str(told.unwrap_or_default());
    refusal
}

fn changed() -> Refusal {
    Refusal::coded(
        StatusCode::CONFLICT,
        "RECORD_CHANGED",
        "the record changed while this was under way, and nothing was done: look at it again",
    )
}

/// For programs; those that yield to force are [`FORCED`].
fn code(why: Refused) -> &'static str {
    match why {
        Refused::NothingThere => "",
        Refused::LeaseLive => "LEASE_LIVE",
        Refused::Unwatched(_) => "STORE_UNWATCHED",
        Refused::AlreadySettled(State::Completed) => "ALREADY_COMPLETED",
        Refused::AlreadySettled(_) => "SETTLED_AS_RELEASED",
        Refused::AlreadyReleased => "ALREADY_RELEASED",
    }
}

fn refused(why: Refused) -> Refusal {
    if why == Refused::NothingThere {
        return nothing_there();
    }
    let mut detail = why.to_string();
    if let Refused::Unwatched(left) = why {
        detail += &format!("; wait for {} s", left.as_secs() + 1);
    }
    if why.yields_to_force() {
        detail += "; `force` overrides that";
    }
    Refusal::coded(StatusCode::CONFLICT, code(why), detail)
}

/// How large the body of a change may be: an answer as base64 or escaped, and some more.
pub(super) fn body_max(max_response: u64) -> u64 {
    max_response.saturating_mul(2).saturating_add(BODY_ROOM)
}

const FORCED: [&str; 4] = [
    "LEASE_LIVE",
    "STORE_UNWATCHED",
    "ALREADY_COMPLETED",
    "SETTLED_AS_RELEASED",
];
const BODY_ROOM: u64 = 64 << 10;
/// Further tries to write what the store did not acknowledge.
const TRIES: u32 = 2;
/// Characters.
const REASON_MAX: usize = 500;

#[cfg(test)]
mod tests;
