//! How an exchange ends: every way out of it, by name, but for an answer that streams (`streaming`).

use std::time::Duration;

use http::Response;

use super::judge::Whole;
use super::policy::{CutUpload, Policy};
use super::send::Failed;
use super::upload::Stage;
use crate::fault::{Seeded, seeded};
use crate::idempotency::Outcome;
use crate::upstream::{NotSentReason, SendError};
use crate::wire::{Body, Code};

/// How an exchange ended.
pub(super) struct Ended {
    /// What the record says.
    pub(super) outcome: Outcome,
    /// How long it is kept, where not as the policy says.
    pub(super) retention: Option<Duration>,
    /// What the client gets once it does.
    pub(super) then: Then,
}

/// What the client gets.
pub(super) enum Then {
    /// A whole answer, kept.
    Answer(Box<Whole>),
    /// An answer that is not kept, passed on as it comes.
    Pass(Response<Body>),
    /// There is no answer.
    Problem(Code, &'static str),
}

impl Ended {
    /// Not carried out.
    pub(super) fn released(error: &'static str, then: Then) -> Self {
        Self {
            outcome: Outcome::Released {
                status: None,
                error: Some(error),
            },
            retention: None,
            then,
        }
    }

    /// Nobody knows.
    pub(super) fn unknown(status: Option<u16>, error: &'static str, then: Then) -> Self {
        Self {
            outcome: Outcome::Unknown {
                status,
                error: Some(error),
            },
            retention: None,
            then,
        }
    }
}

/// What is known of a request that got no answer.
pub(super) fn failed(Failed { error, answered }: Failed, policy: &Policy, upload: Stage) -> Ended {
    match error {
        SendError::NotSent {
            reason: NotSentReason::GateClosed,
            ..
        } => Ended::released(
            "the claim was lost before the first byte",
            Then::Problem(
                Code::InProgress,
                "The claim was lost before the request was sent. Try again.",
            ),
        ),
        SendError::NotSent { reason, .. } => {
            tracing::warn!(%reason, "a request was not sent");
            let detail = match answered {
                None => "The upstream could not be reached. Nothing was sent.",
                Some(_) => {
                    "The upstream answered that it did nothing, and could not be reached again."
                }
            };
            Ended {
                outcome: Outcome::Released {
                    status: answered,
                    error: Some("the upstream was not reached"),
                },
                retention: None,
                then: Then::Problem(Code::UpstreamUnreachable, detail),
            }
        }
        SendError::Unanswered(reason) => {
            tracing::warn!(%reason, "a request was sent and not answered");
            let then = match upload {
                Stage::TooLarge => Then::Problem(
                    Code::BodyTooLarge,
                    "The request body is over max_request_body.",
                ),
                Stage::Cut | Stage::Idle => {
                    Then::Problem(Code::BadRequest, "The request body ended early.")
                }
                Stage::Running | Stage::Whole => Then::Problem(
                    Code::UpstreamFailed,
                    "The upstream's answer was lost. It may have carried the request out.",
                ),
            };
            let cut = matches!(upload, Stage::Cut | Stage::Idle | Stage::TooLarge);
            let released = cut && policy.cut_upload == CutUpload::Release;
            if released || seeded(Seeded::UnansweredReleased) {
                Ended::released("the upload ended early", then)
            } else {
                let why = if cut {
                    "the upload ended early"
                } else {
                    "the upstream's answer was lost"
                };
                Ended::unknown(None, why, then)
            }
        }
    }
}
