//! The HTTP server of the API.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::api::{Answer, Api, Call};

/// Serves an API of its own, on a port of its own, until `stop`.
pub(super) async fn serve(stop: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls, taken) = mpsc::channel(16);
    tokio::spawn(
        stop.clone()
            .run_until_cancelled_owned(answer(Api::new(stop.clone()), taken)),
    );
    tokio::spawn(async move {
        while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            let calls = calls.clone();
            let service = service_fn(move |request| exchange(request, calls.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
        }
    });
    address
}

/// One call after the other, so that none sees half of another.
async fn answer(mut api: Api, mut calls: mpsc::Receiver<(Call, oneshot::Sender<Answer>)>) {
    while let Some((call, waiting)) = calls.recv().await {
        let _ = waiting.send(api.answer(call).await);
    }
}

async fn exchange(
    request: Request<Incoming>,
    calls: mpsc::Sender<(Call, oneshot::Sender<Answer>)>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LIMIT).collect().await;
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        body: body.map(|body| body.to_bytes()).unwrap_or_default(),
    };
    let (waiting, answer) = oneshot::channel();
    let _ = calls.send((call, waiting)).await;
    let (status, document) = answer.await.unwrap_or((503, None));
    let body = document.map(|document| format!("{document}\n"));
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::from(body.unwrap_or_default()))
        .unwrap();
    Ok(response)
}

const LIMIT: usize = 1 << 20;
