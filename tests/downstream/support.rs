//! A listener before a service that tells what it was asked, and a client that sends bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use idemproxy::downstream::{ServerSettings, SharedSettings, Shutdown, serve};
use idemproxy::lanes::Lanes;
use idemproxy::telemetry::Metrics;
use idemproxy::wire::{self, BoxError, Peer};
use idemproxy::tls::{ServerFiles, ServerTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

use crate::authority::{Authority, secure};

/// A client's connection.
pub type Client = Box<dyn Connection>;

pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A running listener.
pub struct Server {
    pub addr: SocketAddr,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    pub serving: JoinHandle<()>,
    settings: SharedSettings,
    /// What its clients begin with, over TLS.
    client: Option<ClientConfig>,
    seen: Arc<Seen>,
}

/// What the service saw, and what it waits for.
pub struct Seen {
    calls: AtomicUsize,
    gone: AtomicUsize,
    uploads: Mutex<Vec<Result<usize, String>>>,
    gate: Semaphore,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let authority = super::TLS.then(Authority::new);
        let mut settings = ServerSettings {
            max_connections: 1000,
            max_in_flight: 100,
            max_buffered_total: 1 << 20,
            max_waiters: 10,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            max_header_bytes: 64 << 10,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(25),
            trust_forwarded: vec!["127.0.0.0/8".parse().unwrap()],
            voice: Arc::default(),
            tls: authority.as_ref().map(shown),
        };
        change(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (shutdown, metrics) = (Shutdown::new(), Arc::new(Metrics::new()));
        let seen = Arc::new(Seen {
            calls: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
            uploads: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let handler = {
            let seen = seen.clone();
            move |request: Request<wire::Body>, peer| {
                assert_ne!(request.uri().path(), "/panic", "as a test wants it");
                answer(seen.clone(), request, peer)
            }
        };
        let settings = settings.into_shared();
        let serving = {
            let (settings, shutdown, metrics) =
                (settings.clone(), shutdown.clone(), metrics.clone());
            tokio::spawn(async move {
                let lanes = Lanes::default();
                serve(&lanes, listener, settings, handler, shutdown, metrics).await;
            })
        };
        Self {
            addr,
            shutdown,
            metrics,
            serving,
            settings,
            client: authority.map(|authority| authority.client(&[], None)),
            seen,
        }
    }

    /// Changes the settings while it runs.
    #[allow(dead_code, reason = "only certificates are exchanged here")]
    pub fn set(&self, change: impl FnOnce(&mut ServerSettings)) {
        let mut settings = (**self.settings.load()).clone();
        change(&mut settings);
        self.settings.store(Arc::new(settings));
    }

    pub fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    /// Endless and large answers whose body was let go.
    pub fn gone(&self) -> usize {
        self.seen.gone.load(Ordering::SeqCst)
    }

    /// Waits for the first upload to `/upload` that ended, and takes it: its length, or how it broke.
    pub async fn upload(&self) -> Result<usize, String> {
        eventually(|| !self.seen.uploads.lock().unwrap().is_empty()).await;
        self.seen.uploads.lock().unwrap().remove(0)
    }

    /// Waits until the service was called `calls` times.
    pub async fn called(&self, calls: usize) {
        eventually(|| self.calls() >= calls).await;
    }

    /// Lets one exchange at `/gate` go on.
    pub fn open_gate(&self) {
        self.seen.gate.add_permits(1);
    }

    pub async fn connect(&self) -> Client {
        self.try_connect().await.unwrap()
    }

    /// A client that speaks HTTP/2 from the first byte, and its connection.
    pub async fn http2(&self) -> (http2::SendRequest<String>, JoinHandle<hyper::Result<()>>) {
        let socket = TokioIo::new(self.connect().await);
        let handshake = http2::handshake(TokioExecutor::new(), socket);
        let (client, connection) = patiently(handshake).await.unwrap();
        (client, tokio::spawn(connection))
    }

    pub async fn try_connect(&self) -> std::io::Result<Client> {
        let tcp = TcpStream::connect(self.addr).await?;
        Ok(match &self.client {
            None => Box::new(tcp),
            Some(config) => Box::new(patiently(secure(tcp, config.clone())).await?),
        })
    }

    /// Sends `bytes` on a connection of its own, and reads to the end.
    pub async fn talk(&self, bytes: &[u8]) -> String {
        let mut client = self.connect().await;
        client.write_all(bytes).await.unwrap();
        read_to_end(&mut client).await
    }

    pub fn page_has(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|l| l == line)
    }
}

/// What a server of this authority shows.
pub fn shown(authority: &Authority) -> Arc<ServerTls> {
    authority.issue("server", &["127.0.0.1"]);
    let files = ServerFiles {
        cert: authority.path("server.pem"),
        key: authority.path("server.key"),
        client_ca: None,
    };
    Arc::new(ServerTls::load(files).unwrap())
}

async fn answer(
    seen: Arc<Seen>,
    request: Request<wire::Body>,
    peer: Arc<Peer>,
) -> Result<Response<Body>, Infallible> {
    seen.calls.fetch_add(1, Ordering::SeqCst);
    let scheme = if super::TLS { "https" } else { "http" };
    assert!(peer.addr().ip().is_loopback() && peer.scheme() == scheme);
    let host = request
        .headers()
        .get("host")
        .map_or("", |host| host.to_str().unwrap())
        .to_owned();
    let line = format!("{} {} at {host}", request.method(), request.uri());
    let body = match request.uri().path() {
        "/early" => {
            return Ok(Response::builder()
                .status(413)
                .body(full("enough"))
                .unwrap());
        }
        "/meanwhile" => {
            tokio::spawn(request.into_body().collect());
            return Ok(Response::new(full("at once")));
        }
        "/upload" => {
            // On its own: what a client resets is not asked any further.
            tokio::spawn(async move {
                let end = request.into_body().collect().await;
                let end = end
                    .map(|body| body.to_bytes().len())
                    .map_err(|error| error.to_string());
                seen.uploads.lock().unwrap().push(end);
            });
            std::future::pending::<()>().await;
            unreachable!()
        }
        "/gate" => {
            seen.gate.acquire().await.unwrap().forget();
            request.into_body().collect().await
        }
        "/endless" => {
            let told = Told(seen);
            let frames = futures_util::stream::repeat_with(move || {
                let _ = &told;
                Ok(Frame::data(Bytes::from(vec![b'x'; 65536])))
            });
            return Ok(Response::new(StreamBody::new(frames).boxed_unsync()));
        }
        "/large" => {
            let told = Told(seen);
            let body = full(vec![b'x'; 1 << 20]).map_frame(move |frame| {
                let _ = &told;
                frame
            });
            return Ok(Response::new(body.boxed_unsync()));
        }
        "/cut" => {
            let frames = [
                Ok(Frame::data(Bytes::from_static(b"half"))),
                Err("the rest is lost".into()),
            ];
            return Ok(Response::new(
                StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync(),
            ));
        }
        "/bare" => return Ok(Response::builder().status(400).body(full("")).unwrap()),
        "/mimic" => {
            return Ok(Response::new(full(
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            )));
        }
        _ => request.into_body().collect().await,
    };
    let text = body.map_or("a broken body".to_owned(), |body| {
        format!("{line} with {}", body.to_bytes().len())
    });
    Ok(Response::new(full(text)))
}

/// Counts its end.
struct Told(Arc<Seen>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Everything the server sends, to its close. Fails on a reset or a connection left open.
pub async fn read_to_end(client: &mut Client) -> String {
    let mut answer = Vec::new();
    patiently(client.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `end` was read.
pub async fn read_until(client: &mut Client, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let byte = patiently(client.read_u8())
            .await
            .unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&answer)));
        answer.push(byte);
    }
    String::from_utf8(answer).unwrap()
}

pub async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it takes too long")
}

pub async fn eventually(mut holds: impl FnMut() -> bool) {
    patiently(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Asserts that `answer` is exactly one problem document and nothing else.
#[track_caller]
pub fn assert_problem(answer: &str, status: u16, error: &str) {
    let (head, document) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {answer:?}"));
    assert!(
        head.starts_with(&format!("HTTP/1.1 {status} "))
            || head.starts_with(&format!("HTTP/1.0 {status} ")),
        "{answer}"
    );
    assert!(
        head.contains(&format!("\r\nx-idempotency-error: {error}")),
        "{answer}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/problem+json"),
        "{answer}"
    );
    assert!(
        head.contains("\r\nconnection: close") || head.starts_with("HTTP/1.0"),
        "{answer}"
    );
    assert!(
        head.contains(&format!("\r\ncontent-length: {}", document.len())),
        "{answer}"
    );
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!(document["status"], status);
}
