//! What the layer asks the service beside the requests, and what it must not be built without.

use std::net::SocketAddr;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post as posted};
use axum::{Extension, Router};
use http::StatusCode;
use idemproxy::{BuildError, IdempotencyLayer};
use tower::Layer;

use crate::world::{Count, post, send, settings, store};

const PROBE: &str = "[policy]\nunknown_outcome = 'probe'\nprobe = { path = '/by-key/{key}', found = '2xx', absent = '404', after = '0s' }";

#[tokio::test]
async fn what_asks_is_not_built_without_somebody_to_ask() {
    let store = store().await;
    let build = |text: &str| IdempotencyLayer::builder(store.clone(), settings(text)).build();
    let nobody = BuildError::NobodyToAsk("default".to_owned());
    for text in [
        PROBE,
        "[policy]\nreplay_check = { path = '/me', ok = '2xx' }",
        "[policy]\n[[policy.response]]\nstatus = '409'\noutcome = 'store'\nreply_from = '/by-key/{key}'",
    ] {
        assert_eq!(build(text).err(), Some(nobody.clone()), "{text}");
        let off = text.replacen("[policy]", "[policy]\nmode = 'off'", 1);
        assert!(build(&off).is_ok());
    }
    let unknown = build("[[route]]\npath = '/a'\nscope = ['path', 'client-ip']").err();
    assert_eq!(unknown, Some(BuildError::NoClientAddress("/a".to_owned())));
}

#[tokio::test]
async fn the_whole_router_answers_a_probe_wherever_the_layer_is() {
    async fn create(State(count): State<Count>) -> StatusCode {
        count.up();
        StatusCode::BAD_GATEWAY
    }
    async fn by_key(
        Path(key): Path<String>,
        Extension(user): Extension<&'static str>,
        headers: HeaderMap,
    ) -> String {
        assert!(!headers.contains_key("idempotency-key") && !headers.contains_key("connection"));
        format!(
            "{key} of {user} {}",
            headers["authorization"].to_str().unwrap()
        )
    }
    let count = Count::default();
    let router = Router::new()
        .route("/orders", posted(create))
        .route("/by-key/{key}", get(by_key))
        .with_state(count.clone());
    let layer = || async {
        let builder = IdempotencyLayer::builder(store().await, settings(PROBE));
        builder.ask(router.clone()).build().unwrap()
    };
    let inside = router.clone().layer(layer().await).layer(Extension("ann"));
    let round = layer().await.layer(router.clone());
    let request = || {
        let mut request = post("/orders", "k");
        request
            .headers_mut()
            .insert("authorization", "Basic YTpi".parse().unwrap());
        request
            .headers_mut()
            .insert("connection", "close".parse().unwrap());
        request.extensions_mut().insert("ann");
        request
    };
    let first = [
        send(&inside, request()).await,
        send(&round, request()).await,
    ];
    let second = [
        send(&inside, request()).await,
        send(&round, request()).await,
    ];
    for (first, second) in first.iter().zip(second) {
        assert_eq!(first.told(), (502, "", "unknown"));
        assert_eq!(second.told(), (200, "", "completed"));
        assert_eq!(second.body, "k of ann Basic YTpi");
    }
    assert_eq!(count.get(), 2);
}

#[tokio::test]
async fn credentials_are_vouched_for_by_headers_alone() {
    async fn me(headers: HeaderMap, user: Option<Extension<&'static str>>) -> StatusCode {
        match (headers["authorization"].to_str().unwrap(), user) {
            ("Basic YTpuZXc=", None) => StatusCode::OK,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
    let router = Router::new()
        .route("/orders", posted(|| async { "done" }))
        .route("/me", get(me));
    let text = "[policy]\nreplay_check = { path = '/me', ok = '2xx' }";
    let builder = IdempotencyLayer::builder(store().await, settings(text));
    let app = builder.ask(router.clone()).build().unwrap().layer(router);
    let mut told = Vec::new();
    for password in ["old", "new", "stolen"] {
        let credentials =
            base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("a:{password}"));
        let mut request = post("/orders", "k");
        let value = format!("Basic {credentials}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        request.extensions_mut().insert("a cookie said so");
        let answer = send(&app, request).await;
        told.push((answer.status.as_u16(), answer.is_replay()));
    }
    assert_eq!(told, [(200, false), (200, true), (409, false)]);
}

#[tokio::test]
async fn the_clients_address_comes_from_where_the_program_says() {
    let text =
        "[policy]\nscope = ['path', 'client-ip']\n[server]\ntrust_forwarded = ['10.0.0.0/8']";
    let builder = IdempotencyLayer::builder(store().await, settings(text));
    let layer = builder.client_address(|extensions| extensions.get::<SocketAddr>().copied());
    let count = Count::default();
    let handler = |State(count): State<Count>| async move { count.up().to_string() };
    let router = Router::new().route("/", posted(handler)).with_state(count);
    let app = layer.build().unwrap().layer(router);
    for (peer, forwarded, time) in [
        ("192.0.2.1:1", "", "1"),
        ("192.0.2.1:2", "198.51.100.1", "1"),
        ("192.0.2.2:1", "", "2"),
        ("10.0.0.1:1", "192.0.2.2", "2"),
        ("10.0.0.1:1", "192.0.2.3", "3"),
    ] {
        let mut request = post("/", "k");
        request
            .extensions_mut()
            .insert(peer.parse::<SocketAddr>().unwrap());
        if !forwarded.is_empty() {
            request
                .headers_mut()
                .insert("x-forwarded-for", forwarded.parse().unwrap());
        }
        let answer = send(&app, request).await;
        assert_eq!(answer.body, time, "{peer} {forwarded}");
    }
}
