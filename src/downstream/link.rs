//! What the two ends of a connection, the socket and the handler, know of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::wire::Bell;

/// What the handler's side knows of a connection and its input and output need, and the other way round.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Wakes the connection, where it speaks HTTP/1.
    pub(super) bell: Bell,
    /// Bodies, of requests and of answers, that have not ended.
    open: AtomicUsize,
    /// Requests so far, wrapping.
    served: AtomicUsize,
    /// The connection left HTTP.
    upgraded: AtomicBool,
    /// A request body was let go before its end, so that what is read next may be the rest of it.
    cut: AtomicBool,
    /// The head read last has more than one `Content-Length`.
    repeated_length: AtomicBool,
    /// Nothing was asked for a while, and all that was answered is sent.
    rests: AtomicBool,
}

impl Link {
    /// Whether no exchange is going on: whatever is read now belongs to the next head, or was [`cut`](Self::is_cut).
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    pub(super) fn served(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    pub(super) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    pub(super) fn repeated_length(&self) {
        self.repeated_length.store(true, Ordering::Release);
    }

    /// Whether nothing is lost with the buffers of the connection, and they are not needed soon.
    pub(super) fn rests(&self) -> bool {
        self.rests.load(Ordering::Acquire) && self.is_idle() && !self.is_cut()
    }

    pub(super) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Release);
    }

    /// Whether the head of the request that came in now repeats its length; forgets it.
    pub(super) fn take_repeated_length(&self) -> bool {
        self.repeated_length.swap(false, Ordering::AcqRel)
    }
}

/// Keeps an exchange open until dropped. Clones are halves of the same exchange.
pub(super) struct Open {
    pub(super) link: Arc<Link>,
    /// Whether this half is dropped outside of the connection, which has to hear of it if it was the last.
    outside: bool,
}

impl Open {
    /// A new exchange.
    pub(super) fn new(link: Arc<Link>) -> Self {
        link.open.fetch_add(1, Ordering::AcqRel);
        link.served.fetch_add(1, Ordering::AcqRel);
        Self {
            link,
            outside: false,
        }
    }

    /// The same half, held by whoever takes the body of the request.
    pub(super) fn outside(mut self) -> Self {
        self.outside = true;
        self
    }
}

impl Clone for Open {
    fn clone(&self) -> Self {
        self.link.open.fetch_add(1, Ordering::AcqRel);
        Self {
            link: self.link.clone(),
            outside: self.outside,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let halves = self.link.open.fetch_sub(1, Ordering::AcqRel);
        if self.outside && halves == 1 {
            self.link.bell.ring();
        }
    }
}
