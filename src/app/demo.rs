//! A toy API behind the proxy, to see it work.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::upstream::{Reuse, Upstream, UpstreamSettings};
use crate::wire;
use crate::wire::BoxError;

/// An API that knows nothing of idempotency: every POST makes another order.
pub(super) struct ToyApi {
    listener: TcpListener,
    orders: Arc<AtomicU64>,
}

impl ToyApi {
    /// On a free port of the loopback address.
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            listener,
            orders: Arc::default(),
        })
    }

    /// Where it listens.
    pub(super) fn origin(&self) -> io::Result<Uri> {
        let address = self.listener.local_addr()?;
        Uri::builder()
            .scheme("http")
            .authority(address.to_string())
            .path_and_query("/")
            .build()
            .map_err(io::Error::other)
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self) {
        loop {
            let Ok((socket, _)) = self.listener.accept().await else {
                continue;
            };
            let orders = self.orders.clone();
            let service = service_fn(move |request| {
                let response = answer(&orders, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    }
}

/// Sends one order twice through the proxy at `address`, and says what came of it.
pub(super) async fn show(address: SocketAddr, settings: &UpstreamSettings) -> Result<(), BoxError> {
    let origin = Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query("/")
        .build()?;
    let proxy = Upstream::new(&UpstreamSettings {
        origin,
        ..settings.clone()
    })?;
    println!(
        "An API that makes another order at every POST, behind idemproxy on http://{address}.\n"
    );
    for round in ["The first POST", "The same again"] {
        let request = Request::post("/orders")
            .header("host", address.to_string())
            .header("idempotency-key", "\"demo-1\"")
            .body(wire::full(Bytes::from_static(b"{\"item\": \"book\"}")))?;
        let response = proxy
            .send(request, Reuse::Any)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let replayed = response.headers().contains_key("x-idempotency-replay");
        let body = response.into_body().collect().await?.to_bytes();
        let how = if replayed {
            "replayed, the API was not asked"
        } else {
            "from the API"
        };
        println!(
            "{round}: {status} {} ({how})",
            String::from_utf8_lossy(&body).trim()
        );
    }
    println!(
        "\nTry it yourself:\n\
         \n  curl -i -X POST http://{address}/orders -H 'Idempotency-Key: my-key' -d '{{\"item\": \"pen\"}}'\
         \n  curl -i -X POST http://{address}/orders -H 'Idempotency-Key: my-key' -d '{{\"item\": \"pen\"}}'   # replayed\
         \n  curl -i -X POST http://{address}/orders -H 'Idempotency-Key: my-key' -d '{{\"item\": \"ink\"}}'   # 422, another request\
         \n  curl -i -X POST http://{address}/orders -d '{{\"item\": \"pen\"}}'                               # no key: another order\
         \n  curl -s http://{address}/orders                                                           # how many there are\
         \n\nCtrl-C ends it; the demo keeps its records in memory.\n"
    );
    Ok(())
}

fn answer(orders: &AtomicU64, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::POST, "/orders") => {
            let number = orders.fetch_add(1, Ordering::Relaxed) + 1;
            (StatusCode::CREATED, format!("{{\"order\": {number}}}\n"))
        }
        (&Method::GET, "/orders") => (
            StatusCode::OK,
            format!("{{\"orders\": {}}}\n", orders.load(Ordering::Relaxed)),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "{\"error\": \"only /orders is here\"}\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    response
}
