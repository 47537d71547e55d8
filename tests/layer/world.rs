//! A layer on a store, requests, and what comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use idemproxy::{AnyStore, BoxError, IdempotencyLayer, LayerSettings};
use tower::{Service, ServiceExt};

/// How often something was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    /// Once more; says how often by now.
    pub(crate) fn up(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A layer by these settings, with a store in memory of its own.
pub(crate) async fn layer(settings: &str) -> IdempotencyLayer {
    layer_on(store().await, settings)
}

/// A layer by these settings.
pub(crate) fn layer_on(store: Arc<AnyStore>, text: &str) -> IdempotencyLayer {
    IdempotencyLayer::builder(store, settings(text))
        .build()
        .unwrap()
}

pub(crate) fn settings(text: &str) -> LayerSettings {
    LayerSettings::from_toml("layer.toml", text).unwrap()
}

pub(crate) async fn store() -> Arc<AnyStore> {
    let settings = settings("[store]\nurl = 'memory:'");
    Arc::new(AnyStore::open(settings.store()).await.unwrap())
}

/// A `POST` with a key, if it is not empty.
pub(crate) fn post(path: &str, key: &str) -> Request<Body> {
    let request = Request::post(path);
    let request = match key {
        "" => request,
        key => request.header("Idempotency-Key", key),
    };
    request.body(Body::from("{}")).unwrap()
}

/// An answer, all of it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's text; nothing where it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.header("x-idempotency-replay") == "true"
    }

    /// Status, code of the refusal, state of the key.
    pub(crate) fn told(&self) -> (u16, &str, &str) {
        (
            self.status.as_u16(),
            self.header("x-idempotency-error"),
            self.header("x-idempotency-state"),
        )
    }

    /// The headers but those of the layer.
    pub(crate) fn others(&self) -> BTreeMap<String, String> {
        let headers = self.headers.iter();
        let others = headers.filter(|(name, _)| !name.as_str().starts_with("x-idempotency-"));
        others
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }
}

/// Sends a request, and reads the answer.
pub(crate) async fn send<S, B>(app: &S, request: Request<Body>) -> Answer
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError> + std::fmt::Debug,
{
    let answered = tokio::time::timeout(PATIENCE, async {
        let response = app.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head, body.collect().await.unwrap().to_bytes())
    });
    let (head, body) = answered.await.unwrap();
    Answer {
        status: head.status,
        headers: head.headers,
        body,
    }
}

/// Sends it again until it is answered otherwise than that it is still under way.
pub(crate) async fn settled<S, B>(app: &S, request: impl Fn() -> Request<Body>) -> Answer
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError> + std::fmt::Debug,
{
    loop {
        let answer = send(app, request()).await;
        if answer.header("x-idempotency-error") != "in-progress" {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Longer than anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
