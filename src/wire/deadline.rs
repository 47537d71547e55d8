//! A point in time that may be waited for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A point in time whose timer is made when somebody first waits for it, and kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(crate) fn at(at: Instant) -> Self {
        Self {
            at: Some(at),
            timer: None,
        }
    }

    pub(crate) fn set_at(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    pub(crate) fn set_if_none(&mut self, wait: Duration) {
        self.at.get_or_insert_with(|| Instant::now() + wait);
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }
}
