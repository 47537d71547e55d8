//! What is noted of a request on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::idempotency::Trace;
use crate::telemetry::Span;
use crate::wire::Peer;

/// What is noted of a request on its way, for its log event, its span, and its client. A copy notes the same.
#[derive(Clone, Debug)]
pub(super) struct Trail(Arc<Notes>);

#[derive(Debug, Default)]
struct Notes {
    peer: Option<Arc<Peer>>,
    span: Option<Span>,
    /// Nanoseconds; none of which is nothing.
    upstream: AtomicU64,
    store: AtomicU64,
    claimed: AtomicBool,
}

impl Trail {
    /// Of a request that came in now, from there if that is known.
    pub(super) fn begin(peer: Option<Arc<Peer>>, span: Option<Span>) -> Self {
        Self(Arc::new(Notes {
            peer,
            span,
            ..Notes::default()
        }))
    }

    /// The other end of the connection that the request came by, if it is known.
    pub(super) fn peer(&self) -> Option<&Peer> {
        self.0.peer.as_deref()
    }

    /// The request's span, where it is traced.
    pub(super) fn span(&self) -> Option<&Span> {
        self.0.span.as_ref()
    }

    /// Where it is found, if its trace is recorded.
    pub(super) fn trace(&self) -> Option<Trace> {
        let span = self.span().filter(|span| span.is_sampled())?;
        let (trace_id, span_id) = span.ids();
        Some(Trace { trace_id, span_id })
    }

    /// It met a record that a request of this trace made.
    pub(super) fn met(&self, first: Option<Trace>) {
        if let (Some(span), Some(first)) = (self.span(), first) {
            span.link(first.trace_id, first.span_id);
        }
    }

    /// It has its claim.
    pub(super) fn claimed(&self) {
        self.0.claimed.store(true, Ordering::Release);
    }

    /// Whether it has its claim, as far as is known.
    pub(super) fn has_claimed(&self) -> bool {
        self.0.claimed.load(Ordering::Acquire)
    }

    /// The store was waited for so long, once more.
    pub(super) fn stored(&self, took: Duration) {
        add(&self.0.store, took);
    }

    /// The upstream was asked for so long.
    pub(super) fn asked(&self, took: Duration) {
        add(&self.0.upstream, took);
    }

    /// How long it waited for the store, if it did.
    pub(super) fn store(&self) -> Option<Duration> {
        read(&self.0.store)
    }

    /// For how long the upstream was asked, if it was.
    pub(super) fn upstream(&self) -> Option<Duration> {
        read(&self.0.upstream)
    }
}

/// Of each sum only one adds at a time, so that nothing is lost between the two.
fn add(sum: &AtomicU64, took: Duration) {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let before = sum.load(Ordering::Relaxed);
    sum.store(before.saturating_add(nanos.max(1)), Ordering::Relaxed);
}

fn read(sum: &AtomicU64) -> Option<Duration> {
    match sum.load(Ordering::Relaxed) {
        0 => None,
        nanos => Some(Duration::from_nanos(nanos)),
    }
}
