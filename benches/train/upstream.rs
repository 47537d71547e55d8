//! The API behind the proxies.

use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto};

use super::authority::Authority;
use super::client::{Body, chunked, whole};

/// Answers until the bench ends, each request with another body, so that an answer that was kept is told from one that was made.
pub(crate) struct Upstream {
    address: SocketAddr,
    api: Arc<Api>,
}

struct Api {
    answers: AtomicU64,
    /// For each client: how many of its requests to `/held` may be answered.
    held: Vec<Semaphore>,
}

impl Upstream {
    /// Listens on 127.0.0.1 for the requests of so many clients; with the certificate `own` of this authority, if any.
    pub(crate) async fn start(clients: usize, authority: Option<&Authority>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let tls = authority.map(acceptor).transpose()?;
        let api = Arc::new(Api {
            answers: AtomicU64::new(0),
            held: (0..clients).map(|_| Semaphore::new(0)).collect(),
        });
        let shared = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (api, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    stream.set_nodelay(true)?;
                    match tls {
                        None => api.serve(stream).await,
                        Some(tls) => api.serve(tls.accept(stream).await?).await,
                    }
                });
            }
        });
        Ok(Self { address, api })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the request of this client answered that is held.
    pub(crate) fn release(&self, client: usize) {
        self.api.held[client].add_permits(1);
    }
}

impl Api {
    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
        let service = service_fn(|request| self.answer(request));
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await
            // The client sees it too.
            .map_err(Error::other)
    }

    async fn answer(&self, request: Request<Incoming>) -> hyper::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let received = body.collect().await?.to_bytes().len();
        let mut path = head.uri.path().split('/').skip(1);
        let (what, number) = (path.next(), path.next());
        let number: usize = number
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_default();
        match what {
            Some("files") => return Ok(file(whole(vec![b'x'; number].into()))),
            Some("streams") => return Ok(file(chunked(vec![b'x'; number].into()))),
            Some("held") => {
                let permit = self.held[number].acquire().await;
                permit.expect("it is never closed").forget();
            }
            Some("slow") => tokio::time::sleep(WORK).await,
            _ => (),
        }
        let status = match (what, head.method) {
            (Some("missing"), _) => StatusCode::NOT_FOUND,
            (Some("broken"), _) => StatusCode::INTERNAL_SERVER_ERROR,
            (_, Method::POST) => StatusCode::CREATED,
            _ => StatusCode::OK,
        };
        let answer = self.answers.fetch_add(1, Ordering::Relaxed);
        let note = "It was taken down, and will be seen to. ".repeat(6);
        let body = format!(r#"{{"answer":{answer},"received":{received},"note":"{note}"}}"#);
        let mut answer = Response::new(whole(body.into()));
        *answer.status_mut() = status;
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("x-request-id", "018f6b1e-9c1a-7c3e-8d53-0a4d7f3b2c11"),
        ] {
            let value = HeaderValue::from_static(value);
            answer.headers_mut().insert(name, value);
        }
        Ok(answer)
    }
}

fn file(body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let value = HeaderValue::from_static("application/octet-stream");
    answer.headers_mut().insert(header::CONTENT_TYPE, value);
    answer
}

fn acceptor(authority: &Authority) -> Result<TlsAcceptor> {
    let certificate =
        CertificateDer::from_pem_file(authority.path("own.pem")).map_err(Error::other)?;
    let key = PrivateKeyDer::from_pem_file(authority.path("own.key")).map_err(Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
        })
        .map_err(Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What it takes for a slow request: long enough for a duplicate to wait for it.
const WORK: Duration = Duration::from_millis(5);
