//! A request body on its way to the upstream: counted, hashed, and watched for how it ends.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::fault::{Seeded, seeded};
use crate::idempotency::digest::Digest;
use crate::idempotency::{Fingerprint, PartHasher, Secret};
use crate::lanes::{now, sleep_until};
use crate::wire::{Body, BoxError};

/// A request body on its way to the upstream.
pub(super) struct Upload {
    ahead: Option<Bytes>,
    rest: Body,
    hasher: Option<PartHasher>,
    taken: u64,
    /// All of it, where the client told.
    length: Option<u64>,
    max: Option<u64>,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Progress,
}

/// How far a request body has come, for whoever waits for the answer. A copy is of the same.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Nothing of one that was there from the beginning.
    course: Option<Arc<Course>>,
}

#[derive(Debug)]
struct Course {
    began: Instant,
    /// When it moved last, milliseconds from the beginning.
    moved: AtomicU64,
    stage: AtomicU8,
    digest: OnceLock<Digest>,
}

/// Where a request body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// More may come.
    Running = 0,
    /// All of it went by.
    Whole = 1,
    /// The client's side ended early.
    Cut = 2,
    /// It went over `max_request_body`.
    TooLarge = 3,
    /// No byte came for `body_idle_timeout`.
    Idle = 4,
}

/// Why a request body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UploadError {
    /// The client's side ended early.
    #[error("the client's upload ended early")]
    Cut,
    /// It went over `max_request_body`.
    #[error("the request body is over max_request_body")]
    TooLarge,
    /// No byte came for `body_idle_timeout`.
    #[error("no byte of the request body came for body_idle_timeout")]
    Idle,
}

impl Upload {
    /// A body of which `ahead` was read already; `max` bytes at most, `idle` between two pieces at most.
    pub(super) fn new(ahead: Option<Bytes>, rest: Body, max: Option<u64>, idle: Duration) -> Self {
        let progress = Progress::running();
        let length = rest
            .size_hint()
            .exact()
            .map(|rest| rest + ahead.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Self {
            length,
            ahead,
            rest,
            hasher: None,
            taken: 0,
            max,
            idle,
            timer: None,
            progress,
        }
    }

    /// The same, hashed on the way.
    pub(super) fn hashed(mut self) -> Self {
        self.hasher = Some(PartHasher::new());
        self
    }

    /// Whether it is told to be larger than it may be.
    pub(super) fn is_too_large(&self) -> bool {
        self.max.is_some_and(|max| self.size_hint().lower() > max)
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn take(&mut self, data: &Bytes) -> Result<(), UploadError> {
        self.taken += data.len() as u64;
        if self.max.is_some_and(|max| self.taken > max) {
            return Err(self.progress.end(UploadError::TooLarge));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(data);
        }
        Ok(())
    }

    /// Whoever sends it on may know that this was the last piece, and ask no further.
    fn finish_if_last(&mut self) {
        if self.length == Some(self.taken) || self.rest.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if self.progress.stage() == Stage::Running {
            if let Some(hasher) = self.hasher.take() {
                self.progress.hashed(hasher.finish());
            }
            self.progress.enter(Stage::Whole);
        }
    }

    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match Pin::new(&mut self.rest).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.timer = None;
                Poll::Ready(match frame {
                    Some(Ok(frame)) => Some(Ok(frame)),
                    Some(Err(_)) if seeded(Seeded::CutUploadIsWhole) => None,
                    Some(Err(_)) => Some(Err(self.progress.end(UploadError::Cut))),
                    None => None,
                })
            }
            Poll::Pending => {
                let idle = self.idle;
                let timer = self
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(self.progress.end(UploadError::Idle))))
            }
        }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(ahead) = this.ahead.take() {
            this.take(&ahead)?;
            this.progress.touch();
            this.finish_if_last();
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        match ready!(this.poll_rest(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.take(data)?;
                }
                this.progress.touch();
                this.finish_if_last();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => {
                this.progress.touch();
                this.finish();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

impl Progress {
    /// That of a body which was there from the beginning.
    pub(super) fn whole() -> Self {
        Self { course: None }
    }

    fn running() -> Self {
        let course = Course {
            began: now(),
            moved: AtomicU64::default(),
            stage: AtomicU8::default(),
            digest: OnceLock::default(),
        };
        Self {
            course: Some(Arc::new(course)),
        }
    }

    /// Where it is.
    pub(super) fn stage(&self) -> Stage {
        let Some(course) = &self.course else {
            return Stage::Whole;
        };
        match course.stage.load(Ordering::Acquire) {
            0 => Stage::Running,
            1 => Stage::Whole,
            3 => Stage::TooLarge,
            4 => Stage::Idle,
            _ => Stage::Cut,
        }
    }

    /// The hash, once all of a hashed body went by.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.course.as_ref()?.digest.get().copied()
    }

    /// Ready when nothing moved for `patience`: of the body while it is on its way, of anything after its last byte. Of one that was
    /// there from the beginning that is since `began`.
    pub(super) async fn stalled_for(&self, began: Instant, patience: Duration) {
        let mut moved = self.moved();
        loop {
            sleep_until(moved.unwrap_or(began) + patience).await;
            let before = std::mem::replace(&mut moved, self.moved());
            if moved == before {
                return;
            }
        }
    }

    /// The fingerprint of a request whose body is hashed on its way, if all of it went by.
    pub(super) fn complete(
        &self,
        mut fingerprint: Fingerprint,
        secret: &Secret,
    ) -> Option<Fingerprint> {
        (self.stage() == Stage::Whole).then(|| {
            if let Some(digest) = self.digest() {
                fingerprint.add_digest("body", secret.part(digest));
            }
            fingerprint
        })
    }

    fn moved(&self) -> Option<Instant> {
        let course = self.course.as_ref()?;
        let moved = Duration::from_millis(course.moved.load(Ordering::Relaxed));
        Some(course.began + moved)
    }

    fn touch(&self) {
        if let Some(course) = &self.course {
            let elapsed = now().saturating_duration_since(course.began).as_millis();
            let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
            course.moved.store(elapsed, Ordering::Relaxed);
        }
    }

    fn enter(&self, stage: Stage) {
        if let Some(course) = &self.course {
            course.stage.store(stage as u8, Ordering::Release);
        }
    }

    fn hashed(&self, digest: Digest) {
        if let Some(course) = &self.course {
            // Set once: all of it goes by once.
            let _ = course.digest.set(digest);
        }
    }

    fn end(&self, error: UploadError) -> UploadError {
        let stage = match error {
            UploadError::Cut => Stage::Cut,
            UploadError::TooLarge => Stage::TooLarge,
            UploadError::Idle => Stage::Idle,
        };
        self.enter(stage);
        error
    }
}
