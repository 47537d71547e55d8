//! Statuses and documents of the HTTP API.

use serde_json::{Value, json};

use crate::line::{Line, patiently};
use crate::toxics::{call, call_text};

#[tokio::test]
async fn the_version_is_json() {
    let line = Line::new().await;
    let (status, answer) = call(line.toxics.url(), "GET", "/version", None).await;
    assert_eq!(status, 200);
    assert!(answer["version"].is_string(), "{answer}");
}

#[tokio::test]
async fn a_proxy_is_made_shown_listed_and_deleted() {
    let line = Line::new().await;
    let url = line.toxics.url();
    let name = format!("{}-made", line.link.name());
    let path = format!("/proxies/{name}");
    let upstream = line.upstream.address().to_string();
    let asked = json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream});
    let (status, made) = call(url, "POST", "/proxies", Some(&asked)).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["name"], name);
    assert_eq!(made["upstream"], upstream);
    assert_eq!(made["enabled"], true);
    assert_eq!(made["toxics"], json!([]));
    let listen: std::net::SocketAddr = made["listen"].as_str().unwrap().parse().unwrap();
    assert_ne!(listen.port(), 0);

    assert_eq!(call(url, "GET", &path, None).await, (200, made.clone()));
    let (status, all) = call(url, "GET", "/proxies", None).await;
    assert_eq!((status, &all[&name]), (200, &made));
    refused(
        call(url, "POST", "/proxies", Some(&asked)).await,
        409,
        "proxy already exists",
    );

    assert_eq!(call(url, "DELETE", &path, None).await, (204, Value::Null));
    refused(
        call(url, "DELETE", &path, None).await,
        404,
        "proxy not found",
    );
    assert!(
        patiently(tokio::net::TcpStream::connect(listen))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_proxy_that_cannot_be_is_refused() {
    let line = Line::new().await;
    let url = line.toxics.url();
    for (body, error) in [
        (json!({"upstream": "127.0.0.1:1"}), "missing required field"),
        (json!({"name": "no-upstream"}), "missing required field"),
        (json!({"name": 1}), "bad request body"),
    ] {
        refused(call(url, "POST", "/proxies", Some(&body)).await, 400, error);
    }
    let (status, text) = call_text(url, "POST", "/proxies", "{".to_owned()).await;
    assert_eq!(status, 400, "{text}");
    assert_eq!(call(url, "GET", "/nothing", None).await.0, 404);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let line = Line::new().await;
    let url = line.toxics.url();
    let body = json!({"type": "latency"});
    for (method, path) in [
        ("GET", "/proxies/nobody"),
        ("POST", "/proxies/nobody"),
        ("PATCH", "/proxies/nobody"),
        ("DELETE", "/proxies/nobody"),
        ("GET", "/proxies/nobody/toxics"),
        ("POST", "/proxies/nobody/toxics"),
        ("GET", "/proxies/nobody/toxics/none"),
        ("DELETE", "/proxies/nobody/toxics/none"),
    ] {
        refused(
            call(url, method, path, Some(&body)).await,
            404,
            "proxy not found",
        );
    }
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        let answer = line.link.call(method, "/toxics/none", Some(&body)).await;
        refused(answer, 404, "toxic not found");
    }
}

#[tokio::test]
async fn a_toxic_has_defaults() {
    let line = Line::new().await;
    let asked = json!({"type": "latency", "attributes": {"latency": 5}});
    let (status, made) = line.link.call("POST", "/toxics", Some(&asked)).await;
    let expected = json!({
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
        "attributes": {"latency": 5, "jitter": 0},
    });
    assert_eq!((status, plain(made)), (200, plain(expected.clone())));
    let (_, toxics) = line.link.call("GET", "/toxics", None).await;
    assert_eq!(plain(toxics[0].clone()), plain(expected.clone()));
    let (_, proxy) = line.link.call("GET", "", None).await;
    assert_eq!(plain(proxy["toxics"][0].clone()), plain(expected));
}

#[tokio::test]
async fn every_type_shows_its_attributes() {
    let line = Line::new().await;
    for (kind, attributes) in [
        ("latency", json!({"latency": 1, "jitter": 2})),
        ("bandwidth", json!({"rate": 3})),
        ("slow_close", json!({"delay": 4})),
        ("timeout", json!({"timeout": 5})),
        (
            "slicer",
            json!({"average_size": 6, "size_variation": 2, "delay": 7}),
        ),
        ("limit_data", json!({"bytes": 8})),
        ("reset_peer", json!({"timeout": 9})),
    ] {
        let asked = json!({"type": kind, "stream": "upstream", "attributes": attributes});
        let (status, made) = line.link.call("POST", "/toxics", Some(&asked)).await;
        assert_eq!(status, 200, "{made}");
        assert_eq!(made["name"], format!("{kind}_upstream"));
        assert_eq!(made["attributes"], attributes);
        let path = format!("/toxics/{kind}_upstream");
        assert_eq!(line.link.call("GET", &path, None).await, (200, made));
        assert_eq!(
            line.link.call("DELETE", &path, None).await,
            (204, Value::Null)
        );
    }
}

#[tokio::test]
async fn a_toxic_that_cannot_be_is_refused() {
    let line = Line::new().await;
    for (body, error) in [
        (json!({"type": "gremlin"}), "invalid toxic type"),
        (json!({}), "invalid toxic type"),
        (
            json!({"type": "latency", "stream": "sideways"}),
            "stream was invalid",
        ),
        (
            json!({"type": "latency", "attributes": {"latency": "long"}}),
            "bad request body",
        ),
    ] {
        refused(
            line.link.call("POST", "/toxics", Some(&body)).await,
            400,
            error,
        );
    }
    let asked = json!({"name": "mine", "type": "latency"});
    assert_eq!(line.link.call("POST", "/toxics", Some(&asked)).await.0, 200);
    let again = json!({"name": "mine", "type": "timeout", "stream": "upstream"});
    refused(
        line.link.call("POST", "/toxics", Some(&again)).await,
        409,
        "toxic already exists",
    );
}

#[tokio::test]
async fn a_change_of_a_toxic_leaves_the_rest() {
    let line = Line::new().await;
    let asked =
        json!({"name": "mine", "type": "latency", "attributes": {"latency": 1, "jitter": 2}});
    assert_eq!(line.link.call("POST", "/toxics", Some(&asked)).await.0, 200);
    for (change, latency, toxicity) in [
        (json!({"attributes": {"latency": 7}}), 7, 1.0),
        (json!({"toxicity": 0.5}), 7, 0.5),
    ] {
        let (status, toxic) = line.link.call("POST", "/toxics/mine", Some(&change)).await;
        assert_eq!(status, 200, "{toxic}");
        assert_eq!(
            toxic["attributes"],
            json!({"latency": latency, "jitter": 2})
        );
        assert_eq!(toxic["toxicity"].as_f64(), Some(toxicity));
    }
}

#[track_caller]
fn refused((status, document): (u16, Value), expected: u16, error: &str) {
    assert_eq!(status, expected, "{document}");
    assert_eq!(document["status"], expected);
    let said = document["error"].as_str().unwrap();
    assert!(said.starts_with(error), "{said}");
}

/// With the toxicity as a float, which may be written `1`.
fn plain(mut toxic: Value) -> Value {
    toxic["toxicity"] = json!(toxic["toxicity"].as_f64());
    toxic
}
