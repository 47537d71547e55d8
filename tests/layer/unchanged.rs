//! What the layer leaves as it is.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Path, State};
use axum::routing::post as posted;
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode, Version, request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{Count, layer, post, send};

/// What only a proxy would touch.
const OF_THE_WAY: [(&str, &str); 15] = [
    ("connection", "x-hop, idempotency-key"),
    ("x-hop", "1"),
    ("keep-alive", "timeout=5"),
    ("te", "gzip, trailers"),
    ("expect", "100-continue"),
    ("host", "api.example"),
    ("via", "1.1 before"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-proto", "gopher"),
    ("forwarded", "for=192.0.2.1"),
    ("traceparent", "malformed"),
    ("tracestate", "a=1"),
    ("cookie", "a=1"),
    ("cookie", "b=2"),
    ("upgrade", "h2c"),
];

/// The head of each request that a service gets.
#[derive(Clone, Default)]
struct Heads(Arc<Mutex<Vec<request::Parts>>>);

#[tokio::test]
async fn headers_target_version_and_extensions_reach_the_service_as_they_came() {
    #[derive(Clone, Debug, PartialEq)]
    struct User(&'static str);

    for settings in ["", "[policy]\nmode = 'observe'", "[policy]\nmode = 'off'"] {
        for key in ["k", ""] {
            let heads = Heads::default();
            let seen = heads.clone();
            let service = service_fn(move |request: Request<idemproxy::Body>| {
                seen.0.lock().unwrap().push(request.into_parts().0);
                let response = Response::builder()
                    .status(201)
                    .header("connection", "x-own")
                    .header("x-own", "1")
                    .extension(User("bob"))
                    .body(Body::from("done"));
                std::future::ready(Ok::<_, Infallible>(response.unwrap()))
            });
            let app = layer(settings).await.layer(service);
            let mut request = post("http://api.example/orders?a=%7e", key);
            for (name, value) in OF_THE_WAY {
                request.headers_mut().append(name, value.parse().unwrap());
            }
            *request.version_mut() = Version::HTTP_2;
            request.extensions_mut().insert(User("ann"));
            let (sent, body) = request.into_parts();
            let response = app
                .clone()
                .oneshot(Request::from_parts(sent.clone(), body))
                .await
                .unwrap();
            let head = heads.0.lock().unwrap().pop().unwrap();
            assert_eq!(head.headers, sent.headers);
            assert_eq!(
                (head.method, head.uri, head.version),
                (sent.method, sent.uri, sent.version)
            );
            assert_eq!(head.extensions.get(), Some(&User("ann")));
            assert_eq!(head.extensions.len(), 1);
            assert_eq!(response.status(), 201);
            assert_eq!(response.headers()["connection"], "x-own");
            assert_eq!(response.headers()["x-own"], "1");
            assert_eq!(response.extensions().get(), Some(&User("bob")));
            let marked = response.headers().contains_key("x-idempotency-id");
            assert_eq!(marked, settings.is_empty() && !key.is_empty());
        }
    }
}

#[tokio::test]
async fn what_a_router_tells_its_handlers_is_there_under_a_key() {
    async fn tell(
        Path(id): Path<String>,
        matched: MatchedPath,
        State(count): State<Count>,
        Extension(user): Extension<&'static str>,
    ) -> String {
        format!("{user} {} {id} {}", count.up(), matched.as_str())
    }
    let router = || {
        let router = Router::new().route("/orders/{id}", posted(tell));
        router.with_state(Count::default())
    };
    let nested = Router::new().nest("/v1", router().layer(layer("").await));
    let nested = nested.layer(Extension("ann"));
    let round = layer("").await.layer(router().layer(Extension("ann")));
    for _ in 0..2 {
        let answer = send(&round, post("/orders/7", "k")).await;
        assert_eq!(answer.body, "ann 1 7 /orders/{id}");
        let answer = send(&nested, post("/v1/orders/7", "k")).await;
        assert_eq!(answer.body, "ann 1 7 /v1/orders/{id}");
    }
    assert!(send(&nested, post("/v1/orders/7", "k")).await.is_replay());
    assert_eq!(
        send(&round, post("/nowhere", "k")).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn bodies_without_a_key_stream_both_ways() {
    let echo = service_fn(|request: Request<idemproxy::Body>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(request.into_body())))
    });
    for settings in ["", "[policy]\nmode = 'observe'"] {
        let app = layer(settings).await.layer(echo);
        let (sender, mut receiver) = mpsc::unbounded_channel::<Result<Bytes, Infallible>>();
        let pieces = stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let pieces = pieces.map(|piece| piece.map(Frame::data));
        let request = Request::post("/")
            .body(Body::new(StreamBody::new(pieces)))
            .unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert!(!response.headers().contains_key("x-idempotency-id"));
        let mut body = response.into_body();
        // Each piece comes back before the next one is sent.
        for piece in ["one", "two", "three"] {
            sender
                .send(Ok(Bytes::from_static(piece.as_bytes())))
                .unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        drop(sender);
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_guarantee_has_no_limit_of_the_layers() {
    const HOUR: Duration = Duration::from_secs(3_600);
    async fn slow(body: Bytes) -> Bytes {
        tokio::time::sleep(HOUR).await;
        body
    }
    let limits = "[server]\nmax_in_flight = 1\nbody_idle_timeout = '1s'\n[policy]\nupstream_timeout = '2s'\n";
    for more in ["", "mode = 'observe'", "mode = 'off'"] {
        let app = layer(&format!("{limits}{more}")).await;
        let app = app.layer(Router::new().route("/", posted(slow)));
        let request = || {
            let late = stream::once(async {
                tokio::time::sleep(HOUR).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"late")))
            });
            let body = Body::new(StreamBody::new(late));
            let response = app.clone().oneshot(Request::post("/").body(body).unwrap());
            async {
                response
                    .await
                    .unwrap()
                    .into_body()
                    .collect()
                    .await
                    .unwrap()
                    .to_bytes()
            }
        };
        let bodies = futures_util::future::join_all([request(), request(), request()]).await;
        assert_eq!(bodies, ["late"; 3]);
    }
}

#[tokio::test]
async fn what_is_observed_runs_every_time_and_is_counted() {
    let layer = layer("[policy]\nmode = 'observe'").await;
    let count = Count::default();
    let handler = |State(count): State<Count>| async move { count.up().to_string() };
    let router = Router::new().route("/", posted(handler));
    let app = layer.layer(router.with_state(count.clone()));
    for time in ["1", "2"] {
        let answer = send(&app, post("/", "k")).await;
        assert_eq!(answer.body, time);
        assert_eq!(answer.others().len(), answer.headers.len());
    }
    layer.drain().await;
    let page = layer.metrics();
    for outcome in ["observed_executed", "observed_replayed"] {
        let line = format!("idemproxy_requests_total{{route=\"default\",outcome=\"{outcome}\"}} 1");
        assert!(page.contains(&line), "{page}");
    }
}
