//! What runs goes on: without its client, while others wait, to the end of the program.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post as posted;
use futures_util::FutureExt;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt};
use tracing::Instrument;

use crate::world::{Answer, Count, PATIENCE, layer, post, send, settled};

/// A handler that counts, and then waits to be let go.
#[derive(Clone)]
struct Slow {
    begun: Arc<Semaphore>,
    go: Arc<Semaphore>,
    done: Count,
}

impl Slow {
    fn new() -> Self {
        Self {
            begun: Arc::new(Semaphore::new(0)),
            go: Arc::new(Semaphore::new(0)),
            done: Count::default(),
        }
    }

    fn router(&self) -> Router {
        async fn work(State(slow): State<Slow>) -> String {
            slow.begun.add_permits(1);
            slow.go.acquire().await.unwrap().forget();
            slow.done.up().to_string()
        }
        Router::new()
            .route("/", posted(work))
            .with_state(self.clone())
    }

    async fn begun(&self) {
        let begun = self.begun.acquire();
        tokio::time::timeout(PATIENCE, begun)
            .await
            .unwrap()
            .unwrap()
            .forget();
    }
}

#[tokio::test]
async fn a_client_that_leaves_finds_its_answer_at_the_retry() {
    let slow = Slow::new();
    let app = layer("").await.layer(slow.router());
    let client = tokio::spawn(app.clone().oneshot(post("/", "k")));
    slow.begun().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    let meanwhile = send(&app, post("/", "k")).await;
    assert_eq!(meanwhile.told(), (409, "in-progress", "in-flight"));
    slow.go.add_permits(1);
    let answer = settled(&app, || post("/", "k")).await;
    assert!(answer.is_replay());
    assert_eq!(answer.body, "1");
    assert_eq!(slow.done.get(), 1);
    // Without a key it is as without the layer: a client that leaves takes its request with it.
    let client = tokio::spawn(app.clone().oneshot(post("/", "")));
    slow.begun().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(slow.done.get(), 1);
}

/// As in a `select!` of a loop, or where one of many answers is read after the other.
#[tokio::test]
async fn what_holds_an_answer_and_does_not_ask_for_it_holds_up_nothing() {
    let slow = Slow::new();
    let app = layer("").await.layer(slow.router());
    let mut first = std::pin::pin!(app.clone().oneshot(post("/", "k")));
    assert!(first.as_mut().now_or_never().is_none());
    slow.begun().await;
    slow.go.add_permits(1);
    let answer = settled(&app, || post("/", "k")).await;
    assert!(answer.is_replay());
    assert_eq!(slow.done.get(), 1);
    let first = tokio::time::timeout(PATIENCE, first).await.unwrap();
    assert_eq!(first.unwrap().status(), 200);
}

#[tokio::test]
async fn a_duplicate_can_wait_for_the_answer() {
    let slow = Slow::new();
    let app = layer("[policy]\nin_flight = 'wait'")
        .await
        .layer(slow.router());
    let first = tokio::spawn({
        let app = app.clone();
        async move { send(&app, post("/", "k")).await }
    });
    slow.begun().await;
    let second = tokio::spawn({
        let app = app.clone();
        async move { send(&app, post("/", "k")).await }
    });
    tokio::task::yield_now().await;
    slow.go.add_permits(1);
    let answers: [Answer; 2] = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(
        answers.each_ref().map(|answer| answer.body.clone()),
        ["1", "1"]
    );
    assert!(answers[1].is_replay());
}

#[tokio::test]
async fn a_handler_works_within_the_span_of_its_request() {
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry());
    let handler = || async {
        tracing::Span::current()
            .metadata()
            .map_or("", |of| of.name())
    };
    let app = layer("")
        .await
        .layer(Router::new().route("/", posted(handler)));
    let answer = send(&app, post("/", "k")).instrument(tracing::info_span!("mine"));
    assert_eq!(answer.await.body, "mine");
}

#[tokio::test]
async fn draining_waits_for_what_runs_and_begins_nothing_new() {
    let slow = Slow::new();
    let layer = layer("").await;
    let app = layer.layer(slow.router());
    let client = tokio::spawn(app.clone().oneshot(post("/", "k")));
    slow.begun().await;
    let mut drained = Box::pin(layer.drain());
    assert!(drained.as_mut().now_or_never().is_none());
    let refused = send(&app, post("/", "other")).await;
    assert_eq!((refused.told().0, refused.told().1), (503, "draining"));
    slow.go.add_permits(2);
    drained.await;
    assert_eq!(slow.done.get(), 1);
    assert_eq!(client.await.unwrap().unwrap().status(), 200);
    // What needs no guarantee needs no end.
    assert_eq!(send(&app, post("/", "")).await.body, "2");
}

#[tokio::test(start_paused = true)]
async fn what_runs_past_the_drain_deadline_is_settled_as_unknown() {
    let slow = Slow::new();
    let layer = layer("[server]\ndrain_timeout = '3s'").await;
    let app = layer.layer(slow.router());
    let client = tokio::spawn({
        let app = app.clone();
        async move { send(&app, post("/", "k")).await }
    });
    slow.begun().await;
    layer.drain().await;
    let answer = client.await.unwrap();
    assert_eq!(answer.told(), (504, "outcome-unknown", "unknown"));
    assert_eq!(slow.done.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_dropped_and_the_outcome_unknown() {
    let slow = Slow::new();
    let app = layer("[policy]\nupstream_timeout = '2s'")
        .await
        .layer(slow.router());
    let answer = send(&app, post("/", "k")).await;
    assert_eq!(answer.told(), (504, "upstream-timeout", "unknown"));
    slow.go.add_permits(1);
    let again = send(&app, post("/", "k")).await;
    assert_eq!(again.told(), (409, "outcome-unknown", "unknown"));
    assert_eq!((slow.done.get(), slow.go.available_permits()), (0, 1));
}

/// Not ready before it is opened; then each clone has to be asked before it is called.
#[derive(Clone, Default)]
struct Closed {
    open: Arc<AtomicBool>,
    wakers: Arc<Mutex<Vec<Waker>>>,
    asked: bool,
    calls: Count,
}

impl Service<Request<idemproxy::Body>> for Closed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let mut wakers = self.wakers.lock().unwrap();
        if self.open.load(Ordering::SeqCst) {
            self.asked = true;
            return Poll::Ready(Ok(()));
        }
        wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn call(&mut self, _: Request<idemproxy::Body>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.asked),
            "called without being ready"
        );
        self.calls.up();
        std::future::ready(Ok(Response::new(Body::empty())))
    }
}

#[tokio::test]
async fn a_service_is_called_when_it_is_ready_and_not_before() {
    for key in ["k", ""] {
        let service = Closed::default();
        let app = layer("").await.layer(service.clone());
        let client = tokio::spawn(app.clone().oneshot(post("/", key)));
        let waiting = async {
            while service.wakers.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
        if !key.is_empty() {
            let duplicate = send(&app, post("/", key)).await;
            assert_eq!(duplicate.told().1, "in-progress");
        }
        assert_eq!(service.calls.get(), 0);
        service.open.store(true, Ordering::SeqCst);
        for waker in service.wakers.lock().unwrap().drain(..) {
            waker.wake();
        }
        assert_eq!(client.await.unwrap().unwrap().status(), 200);
        assert_eq!(service.calls.get(), 1);
    }
}
