//! The bodies of both directions.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::loan::Loan;
use crate::fault::{self, Place};
use crate::wire::{self, BoxError};

/// The body of the upstream's answer. Its clean end gives the connection back; dropped before, it closes the
/// connection. An answer that broke off ends in an error, never cleanly.
#[derive(Debug)]
pub struct ResponseBody {
    inner: Incoming,
    loan: Option<Loan>,
}

impl ResponseBody {
    pub(super) fn new(inner: Incoming, loan: Option<Loan>) -> Self {
        let mut body = Self { inner, loan };
        if body.inner.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(loan) = self.loan.take() {
            loan.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { inner, loan } = &mut *self;
        let frame = ready!(match loan.as_ref().and_then(Loan::bell) {
            Some(bell) => bell.poll_frame(inner, context),
            None => Pin::new(inner).poll_frame(context),
        });
        match &frame {
            Some(Ok(frame)) if frame.is_data() && !self.inner.is_end_stream() => {}
            // Nothing follows trailers, and some readers do not ask again.
            Some(Ok(_)) | None => self.give_back(),
            Some(Err(_)) => self.loan = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A request body on its way, and a token that lives until hyper has taken all of it.
pub(super) struct Upload {
    body: wire::Body,
    _under_way: Arc<()>,
}

impl Upload {
    pub(super) fn new(body: wire::Body) -> (Self, Weak<()>) {
        let under_way = Arc::new(());
        let token = Arc::downgrade(&under_way);
        (
            Self {
                body,
                _under_way: under_way,
            },
            token,
        )
    }

    pub(super) fn into_inner(self) -> wire::Body {
        self.body
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            fault::reach(Place::BeforeLastByte);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
