//! The answer to a request that is only observed, and what enforcement would make of it.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::judge::{finality, read_json, ruled};
use super::policy::{CutUpload, Policy};
use super::tap::Sight;
use crate::idempotency::observation::unsaid;
use crate::idempotency::response_rule::Body as Known;
use crate::idempotency::{Finality, Outcome as Ended};
use crate::telemetry::Outcome;

/// An answer that is on its way to the client.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    /// How it would be counted if nobody looked on.
    pub(super) outcome: Outcome,
    /// When its head was there.
    pub(super) at: Instant,
    pub(super) judgement: Judgement,
    /// Whether it is of a kind that is kept.
    pub(super) kept: bool,
    /// What is seen of its body.
    pub(super) body: Receiver<Sight>,
}

/// What an answer says.
pub(super) enum Judgement {
    /// This, and how long that is remembered if a rule names it.
    Final(Finality, Option<Duration>),
    /// That depends on its body; these are its headers.
    ByBody(HeaderMap),
}

/// An answer that may come, or may have come.
pub(super) enum Awaited {
    Coming(oneshot::Receiver<Answered>),
    There(Box<Answered>),
    /// The client left before it.
    Never,
}

impl Awaited {
    /// The answer, once its head is there; nothing if the client leaves before.
    pub(super) async fn head(&mut self) -> Option<&mut Answered> {
        if let Self::Coming(answer) = self {
            *self = match answer.await {
                Ok(answered) => Self::There(Box::new(answered)),
                Err(_) => Self::Never,
            };
        }
        match self {
            Self::There(answered) => Some(answered),
            Self::Coming(_) | Self::Never => None,
        }
    }

    /// How the exchange ended, as far as it was seen, and how long that is remembered if a rule names it.
    pub(super) async fn ended(&mut self, policy: &Policy) -> (Ended, Option<Duration>) {
        let Some(answered) = self.head().await else {
            return (unknown(None, "the client left before the answer"), None);
        };
        let status = answered.status.as_u16();
        match answered.outcome {
            Outcome::Bypassed => {}
            Outcome::UpstreamUnreachable => {
                return (released("the upstream was not reached"), None);
            }
            Outcome::BadRequest => return (cut(policy), None),
            _ => return (unknown(None, "the upstream's answer was lost"), None),
        }
        let (mut end, mut over) = (None, false);
        let (says, retention) = match &answered.judgement {
            Judgement::Final(says, retention) => (*says, *retention),
            Judgement::ByBody(headers) => {
                let read = match answered.body.recv().await {
                    Some(Sight::End(seen)) if seen.whole => {
                        end = Some(true);
                        match &seen.copy {
                            Some((bytes, _)) => read_json(headers, bytes, policy),
                            None => Err(Known::Opaque),
                        }
                    }
                    Some(Sight::Over(_)) => {
                        over = true;
                        Err(Known::Opaque)
                    }
                    // The rules might have said so.
                    Some(Sight::NoRoom | Sight::End(_)) | None => {
                        return (
                            unknown(
                                Some(status),
                                "the upstream's answer was not seen to its end",
                            ),
                            None,
                        );
                    }
                };
                let known = match &read {
                    Ok(json) => Known::Json(json),
                    Err(otherwise) => *otherwise,
                };
                let judged = ruled(policy, answered.status, headers, known);
                let (says, rule) = finality(judged, policy, answered.status, headers);
                (says, rule.and_then(|rule| rule.retention))
            }
        };
        match says {
            Finality::Store => {}
            Finality::Release => {
                let (status, error) = (Some(status), Some("the upstream's answer says so"));
                return (Ended::Released { status, error }, retention);
            }
            Finality::Unknown => {
                return (
                    unknown(Some(status), "the upstream's answer leaves it open"),
                    retention,
                );
            }
        }
        while end.is_none() {
            match answered.body.recv().await {
                Some(Sight::Over(_)) => over = true,
                Some(Sight::NoRoom) => {}
                Some(Sight::End(seen)) => end = Some(seen.whole),
                // The client left in the middle of it, and enforcement would have read on.
                None => end = Some(true),
            }
        }
        if end == Some(false) {
            return (
                unknown(Some(status), "the upstream's answer broke off"),
                None,
            );
        }
        let response = (answered.kept && !over).then(|| unsaid(status));
        (Ended::Completed { status, response }, retention)
    }
}

impl From<oneshot::Receiver<Answered>> for Awaited {
    fn from(answer: oneshot::Receiver<Answered>) -> Self {
        Self::Coming(answer)
    }
}

/// Not carried out.
pub(super) fn released(error: &'static str) -> Ended {
    Ended::Released {
        status: None,
        error: Some(error),
    }
}

/// What a streamed upload leaves that ended early.
pub(super) fn cut(policy: &Policy) -> Ended {
    match policy.cut_upload {
        CutUpload::Unknown => unknown(None, "the upload ended early"),
        CutUpload::Release => released("the upload ended early"),
    }
}

fn unknown(status: Option<u16>, error: &'static str) -> Ended {
    Ended::Unknown {
        status,
        error: Some(error),
    }
}
