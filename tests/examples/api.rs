//! An API that knows nothing of idempotency: what it is asked twice it does twice, unless its database refuses.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The API, on a port of its own.
pub struct Api {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It is done, and its answer is on its way only when this is cancelled.
    Slow(CancellationToken),
    /// It is done, and the connection breaks before the answer.
    AnswerLost,
    /// The API says 503, and does nothing.
    Busy,
    /// It is done, and the mesh in between says 503 instead of the API.
    MeshLostIt,
    /// The mesh says 503, and that it sent nothing.
    MeshRefused,
}

#[derive(Default)]
struct State {
    /// By client id: what is there.
    rows: BTreeMap<String, Value>,
    /// What was done, in order.
    effects: Vec<String>,
    asked: usize,
    troubles: VecDeque<Trouble>,
    revoked: HashSet<String>,
}

impl Api {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let stop = CancellationToken::new();
        let serving = accept(listener, state.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Self {
            address,
            state,
            stop,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has the next request that is no GET meet this.
    pub fn next(&self, trouble: Trouble) {
        self.lock().troubles.push_back(trouble);
    }

    /// From now on this `Authorization` is no good.
    pub fn revoke(&self, authorization: &str) {
        self.lock().revoked.insert(authorization.to_owned());
    }

    /// What was done, in order.
    pub fn effects(&self) -> Vec<String> {
        self.lock().effects.clone()
    }

    /// Requests that came, but GETs.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        let service = service_fn(move |request| answer(state.clone(), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// The connection breaks.
#[derive(Debug, thiserror::Error)]
#[error("the connection breaks")]
struct Broken;

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let origin = head.headers.get("origin").cloned();
    let trouble = if head.method == Method::GET {
        None
    } else {
        let mut state = state.lock().unwrap();
        state.asked += 1;
        state.troubles.pop_front()
    };
    let mesh = |name: &str, value: &str| {
        let answer = Response::builder().status(503).header("server", "envoy");
        answer.header(name, value).body(Full::default()).unwrap()
    };
    match &trouble {
        Some(Trouble::Busy) => return Ok(told(503, &json!({"error": {"code": "busy"}}))),
        Some(Trouble::MeshRefused) => return Ok(mesh("x-envoy-overloaded", "true")),
        _ => {}
    }
    let authorization = head.headers.get("authorization");
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let mut answer = state.lock().unwrap().act(
        &head.method,
        head.uri.path(),
        head.uri.query().unwrap_or(""),
        authorization.unwrap_or(""),
        &body,
    );
    if let Some(origin) = origin {
        let headers = answer.headers_mut();
        headers.insert("access-control-allow-origin", origin);
        headers.insert("vary", http::HeaderValue::from_static("Origin"));
    }
    match trouble {
        Some(Trouble::Slow(gate)) => gate.cancelled().await,
        Some(Trouble::AnswerLost) => return Err(Broken),
        Some(Trouble::MeshLostIt) => return Ok(mesh("content-type", "text/plain")),
        _ => {}
    }
    Ok(answer)
}

impl State {
    fn act(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        authorization: &str,
        body: &Value,
    ) -> Response<Full<Bytes>> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["me"]) if self.revoked.contains(authorization) => told(401, &json!({})),
            ("GET", ["me"]) => told(200, &json!({})),
            ("GET", ["orders", "by-client-id", id]) => match self.rows.get(*id) {
                Some(row) => told(200, row),
                None => told(404, &json!({"error": {"code": "not_found"}})),
            },
            ("POST", ["orders"]) => {
                let id = text(body, "client_id");
                if self.rows.contains_key(&id) {
                    let message = "duplicate key value violates unique constraint";
                    return told(
                        409,
                        &json!({"error": {"code": "23505", "message": message}}),
                    );
                }
                let row = json!({"client_id": id, "item": body["item"], "version": 1});
                self.rows.insert(id.clone(), row.clone());
                self.effects.push(format!("created {id}"));
                told(201, &row)
            }
            ("PUT", ["orders", id]) => {
                let Some(row) = self.rows.get_mut(*id) else {
                    return told(404, &json!({"error": {"code": "not_found"}}));
                };
                if row["version"] != body["version"] {
                    let error = json!({"code": "version_conflict", "version": row["version"]});
                    return told(409, &json!({"error": error}));
                }
                row["item"] = body["item"].clone();
                row["version"] = json!(row["version"].as_u64().unwrap() + 1);
                self.effects.push(format!("updated {id}"));
                told(200, row)
            }
            ("DELETE", ["orders", id]) => {
                if self.rows.remove(*id).is_none() {
                    return told(404, &json!({"error": {"code": "not_found"}}));
                }
                self.effects.push(format!("deleted {id}"));
                told(204, &Value::Null)
            }
            ("POST", ["batches"]) => {
                let items = body["items"].as_array().cloned().unwrap_or_default();
                for item in &items {
                    self.effects.push(format!("made {item}"));
                }
                told(207, &json!({"made": items.len()}))
            }
            ("POST", ["transfers"]) => {
                let amount = body["amount"].as_i64().unwrap_or_default();
                if amount <= 0 {
                    let error = json!({"code": "AMOUNT", "message": "?", "retryable": false});
                    return told(422, &json!({"success": false, "error": error}));
                }
                if amount > 1000 && query != "confirm=1" {
                    let data = json!({"requires_confirmation": true});
                    return told(200, &json!({"success": true, "data": data}));
                }
                self.effects.push(format!("sent {amount}"));
                told(201, &json!({"success": true, "data": {"sent": amount}}))
            }
            ("POST", ["checkout" | "jobs" | "items"]) => {
                let count = self.effects.len() + 1;
                self.effects.push(format!("{path} {body}"));
                told(201, &json!({"number": count}))
            }
            _ => told(404, &json!({"error": {"code": "no_such_thing"}})),
        }
    }
}

fn text(body: &Value, member: &str) -> String {
    body[member].as_str().unwrap_or_default().to_owned()
}

fn told(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let body = if body.is_null() {
        Bytes::new()
    } else {
        body.to_string().into()
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap()
}
