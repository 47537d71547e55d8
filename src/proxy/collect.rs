//! An upstream's answer: read to be kept, or handed on as it comes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::judge::{BrokeOff, Read, Whole};
use super::limits::Buffered;
use super::payload::Pieces;
use super::policy::Policy;
use super::relay::RelaySender;
use crate::fault::{Seeded, seeded};
use crate::telemetry::Limit;
use crate::wire::{BoxError, in_time};

/// What was read of an answer.
pub(super) enum Collected {
    /// All of it.
    Whole(Bytes, HeaderMap),
    /// Too large to keep, by this limit; so much was read.
    Large(Pieces, Limit),
    /// It ended early, or nothing more came of it.
    BrokeOff,
}

/// Reads an answer, as far as it can be kept.
pub(super) async fn collect<B>(body: &mut B, policy: &Policy, held: &mut Buffered) -> Collected
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    if body.size_hint().lower() > policy.max_stored_response {
        return Collected::Large(Pieces::default(), Limit::MaxStoredResponse);
    }
    let mut pieces = Pieces::default();
    let mut trailers = HeaderMap::new();
    loop {
        // That a piece was the last is mostly known with it: to ask for another takes as long as to take one.
        if body.is_end_stream() {
            return Collected::Whole(pieces.join(), trailers);
        }
        let frame = match in_time(policy.upstream_timeout, body.frame()).await {
            Some(Some(Ok(frame))) => frame,
            Some(None) => return Collected::Whole(pieces.join(), trailers),
            Some(Some(Err(_))) if seeded(Seeded::CutAnswerStored) => {
                return Collected::Whole(pieces.join(), trailers);
            }
            Some(Some(Err(_))) | None => return Collected::BrokeOff,
        };
        match frame.into_data() {
            Ok(data) => {
                let room = held.grow(data.len());
                pieces.push(data);
                if !room {
                    return Collected::Large(pieces, Limit::MaxBufferedTotal);
                }
                if pieces.len() > policy.max_stored_response {
                    return Collected::Large(pieces, Limit::MaxStoredResponse);
                }
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
}

/// Reads an answer as far as it can be kept, and gives back how much of it that is; never only its head.
pub(super) async fn collect_answer<B>(
    mut response: Box<Response<B>>,
    policy: &Policy,
    held: &mut Buffered,
) -> Result<Read<B>, BrokeOff>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    match collect(response.body_mut(), policy, held).await {
        Collected::Whole(bytes, trailers) => Ok(Read::Whole(Box::new(Whole {
            response: response.map(|_| bytes),
            trailers,
        }))),
        Collected::Large(ahead, limit) => Ok(Read::Large(response, ahead, limit)),
        Collected::BrokeOff => Err(BrokeOff),
    }
}

/// Hands an answer on to its end, also where nobody listens any more: only the end tells that it was whole. `held` is the memory of what
/// was read ahead; an upstream of which nothing comes for `patience` broke off.
///
/// The last piece is given back, where it is known to be the last: a client that counts has all of the answer with it, and must
/// not before the record says so.
pub(super) async fn pump<B>(
    ahead: Pieces,
    body: &mut B,
    stream: &mut RelaySender,
    patience: Duration,
    held: &mut Buffered,
) -> Result<Option<Frame<Bytes>>, BoxError>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut next = (ahead.len() > 0).then(|| Frame::data(ahead.join()));
    loop {
        if let Some(frame) = next {
            if body.is_end_stream() {
                return Ok(Some(frame));
            }
            stream.send(frame).await;
            held.clear();
        }
        next = timeout(patience, body.frame()).await?.transpose()?;
        if next.is_none() {
            return Ok(None);
        }
    }
}
