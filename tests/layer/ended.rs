//! How an operation of the service ends, and what its duplicates get.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post as posted;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Frame;
use tower::{Layer, service_fn};

use crate::world::{Count, layer, layer_on, post, send, store};

async fn create(
    State(count): State<Count>,
    body: Bytes,
) -> (StatusCode, [(&'static str, String); 1], Bytes) {
    let header = [("x-order", count.up().to_string())];
    (StatusCode::CREATED, header, body)
}

fn orders(count: &Count) -> Router {
    Router::new()
        .route("/orders", posted(create))
        .route("/refunds", posted(create))
        .with_state(count.clone())
}

#[tokio::test]
async fn a_second_post_is_replayed_and_the_handler_ran_once() {
    let (round, inside) = (layer("").await, layer("").await);
    let (one, other) = (Count::default(), Count::default());
    let round = round.layer(orders(&one));
    let inside = orders(&other).layer(inside);
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(send(&round, post("/orders", "k")).await);
        answers.push(send(&inside, post("/orders", "k")).await);
    }
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("x-order"), "1");
        assert_eq!(answer.body, "{}");
        assert_eq!(answer.is_replay(), index > 1);
        assert_eq!(answer.header("x-idempotency-state"), "completed");
        assert_eq!(answer.others().len(), answers[0].others().len());
    }
    assert_eq!((one.get(), other.get()), (1, 1));
    // Other routes of one layer are other operations, and share its limits and its records.
    assert!(!send(&inside, post("/refunds", "k")).await.is_replay());
    assert!(send(&inside, post("/refunds", "k")).await.is_replay());
    assert_eq!(other.get(), 2);
    let other_body = post("/orders", "k").map(|_| Body::from("{\"other\":1}"));
    let reused = send(&round, other_body).await;
    assert_eq!(reused.told().0, 422);
    assert_eq!(one.get(), 1);
}

#[tokio::test]
async fn a_status_that_releases_lets_the_key_run_again() {
    let count = Count::default();
    let busy = |State(count): State<Count>| async move {
        match count.up() {
            1 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::CREATED,
        }
    };
    let router = Router::new()
        .route("/", posted(busy))
        .with_state(count.clone());
    let app = layer("").await.layer(router);
    let first = send(&app, post("/", "k")).await;
    assert_eq!(first.told(), (503, "", "released"));
    assert_eq!(
        send(&app, post("/", "k")).await.told(),
        (201, "", "completed")
    );
    assert!(send(&app, post("/", "k")).await.is_replay());
    assert_eq!(count.get(), 2);
}

/// A body that gives a piece, and then this.
struct Ends<F>(usize, F);

impl<F: FnMut() -> std::io::Error + Unpin> http_body::Body for Ends<F> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0 += 1;
        Poll::Ready(Some(match self.0 {
            1 => Ok(Frame::data(Bytes::from_static(b"half of "))),
            _ => Err((self.1)()),
        }))
    }
}

/// What `app` does leaves the outcome unknown, is told as such, and happens once.
macro_rules! ends_in_doubt {
    ($app:expr, $count:expr) => {{
        let (app, count) = ($app, $count);
        let first = send(&app, post("/", "k")).await;
        assert_eq!(first.told(), (502, "upstream-failed", "unknown"));
        assert_eq!(count.get(), 1);
        for _ in 0..2 {
            let again = send(&app, post("/", "k")).await;
            assert_eq!(again.told(), (409, "outcome-unknown", "unknown"));
        }
        assert_eq!(count.get(), 1);
        let unkeyed = send(&app, post("/", "")).await;
        assert_eq!(unkeyed.told(), (502, "upstream-failed", ""));
        assert_eq!(count.get(), 2);
    }};
}

#[tokio::test]
async fn a_handler_that_panics_leaves_the_outcome_unknown_and_does_not_run_again() {
    let panics = |State(count): State<Count>| async move {
        count.up();
        tokio::task::yield_now().await;
        if count.get() > 0 {
            panic!("on purpose");
        }
    };
    let (one, other) = (Count::default(), Count::default());
    let router = |count: &Count| {
        Router::new()
            .route("/", posted(panics))
            .with_state(count.clone())
    };
    ends_in_doubt!(layer("").await.layer(router(&one)), one);
    ends_in_doubt!(router(&other).layer(layer("").await), other);
}

#[tokio::test]
async fn a_service_that_panics_when_called_leaves_the_outcome_unknown() {
    let count = Count::default();
    let counted = count.clone();
    let service = service_fn(move |_: http::Request<idemproxy::Body>| {
        counted.up();
        if counted.get() > 0 {
            panic!("on purpose");
        }
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    ends_in_doubt!(layer("").await.layer(service), count);
}

#[tokio::test]
async fn a_service_that_fails_leaves_the_outcome_unknown() {
    let count = Count::default();
    let counted = count.clone();
    let service = service_fn(move |_: http::Request<idemproxy::Body>| {
        counted.up();
        std::future::ready(Err::<Response<Body>, _>(std::io::Error::other(
            "on purpose",
        )))
    });
    ends_in_doubt!(layer("").await.layer(service), count);
}

#[tokio::test]
async fn an_answer_whose_body_fails_or_panics_leaves_the_outcome_unknown() {
    for panics in [false, true] {
        let count = Count::default();
        let counted = count.clone();
        let app = layer("")
            .await
            .layer(service_fn(move |_: http::Request<idemproxy::Body>| {
                counted.up();
                let end = move || {
                    if panics {
                        panic!("on purpose");
                    }
                    std::io::Error::other("on purpose")
                };
                std::future::ready(Ok::<_, Infallible>(Response::new(Ends(0, end))))
            }));
        let first = send(&app, post("/", "k")).await;
        assert_eq!(first.told(), (502, "upstream-failed", "unknown"));
        let again = send(&app, post("/", "k")).await;
        assert_eq!(again.told(), (409, "outcome-unknown", "unknown"));
        assert_eq!(count.get(), 1);
    }
}

/// A body that panics whatever it is asked.
struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("on purpose");
    }

    fn is_end_stream(&self) -> bool {
        panic!("on purpose");
    }

    fn size_hint(&self) -> http_body::SizeHint {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn an_answer_whose_body_panics_whatever_it_is_asked_leaves_the_outcome_unknown() {
    let count = Count::default();
    let counted = count.clone();
    let app = layer("")
        .await
        .layer(service_fn(move |_: http::Request<idemproxy::Body>| {
            counted.up();
            std::future::ready(Ok::<_, Infallible>(Response::new(Panics)))
        }));
    let first = send(&app, post("/", "k")).await;
    assert_eq!(first.told(), (502, "upstream-failed", "unknown"));
    let again = send(&app, post("/", "k")).await;
    assert_eq!(again.told(), (409, "outcome-unknown", "unknown"));
    assert_eq!(count.get(), 1);
}

#[tokio::test]
async fn layers_of_one_store_meet_if_they_are_of_one_service() {
    let store = store().await;
    let count = Count::default();
    let app = |service: &str| {
        let layer = layer_on(store.clone(), &format!("service = '{service}'"));
        layer.layer(orders(&count))
    };
    let (orders, again, billing) = (app("orders"), app("orders"), app("billing"));
    assert!(!send(&orders, post("/orders", "k")).await.is_replay());
    assert!(!send(&billing, post("/orders", "k")).await.is_replay());
    assert_eq!(count.get(), 2);
    for app in [orders, again, billing] {
        assert!(send(&app, post("/orders", "k")).await.is_replay());
    }
    assert_eq!(count.get(), 2);
}

#[tokio::test]
async fn layers_of_one_service_and_another_secret_do_not_meet() {
    let store = store().await;
    let folder = tempfile::tempdir().unwrap();
    let count = Count::default();
    let app = |secret: &str| {
        let file = folder.path().join(secret);
        std::fs::write(&file, format!("{secret}, of thirty-two bytes or more")).unwrap();
        let text = format!("[store]\nsecret_file = '{}'", file.display());
        layer_on(store.clone(), &text).layer(orders(&count))
    };
    let (one, again, other) = (app("one"), app("one"), app("other"));
    assert!(!send(&one, post("/orders", "k")).await.is_replay());
    assert!(send(&again, post("/orders", "k")).await.is_replay());
    assert!(!send(&other, post("/orders", "k")).await.is_replay());
    assert_eq!(count.get(), 2);
}
