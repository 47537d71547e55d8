//! The way of spans to a collector: that to an upstream, with its TLS, its connections and its time limits.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use opentelemetry_http::{HttpClient, HttpError};

use crate::tls::ClientFiles;
use crate::upstream::{Reuse, Upstream, UpstreamSettings, UpstreamSetupError};
use crate::wire;

/// A collector of spans.
#[derive(Debug)]
pub(super) struct Collector(Upstream);

impl Collector {
    /// The one at this origin, by the certificates that the environment names.
    pub(super) fn at(origin: &Uri) -> Result<Self, UpstreamSetupError> {
        let settings = UpstreamSettings {
            origin: origin.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            max_idle: 1,
            max_connections: 1,
            tls: ClientFiles {
                ca_file: file("CERTIFICATE"),
                cert_file: file("CLIENT_CERTIFICATE"),
                key_file: file("CLIENT_KEY"),
            },
        };
        Ok(Self(Upstream::new(&settings)?))
    }

    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, bytes) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(Uri::default, Uri::from);
        let host = HeaderValue::try_from(self.0.authority())?;
        head.headers.insert(HOST, host);
        let body = wire::with_trailers(bytes, HeaderMap::new());
        let sent = self
            .0
            .send(Request::from_parts(head, body), Reuse::OnlyYoung);
        let (head, body) = sent.await.map_err(|error| error.to_string())?.into_parts();
        let bytes = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, bytes))
    }
}

impl HttpClient for Collector {
    // Written as `async_trait` would have it.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.post(request))
    }
}

fn file(name: &str) -> Option<PathBuf> {
    let of_traces = std::env::var_os(format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
    let path = of_traces.or_else(|| std::env::var_os(format!("OTEL_EXPORTER_OTLP_{name}")));
    path.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A few retransmitted SYNs and a handshake: nobody waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From one batch to the next.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// It says how many spans it took, and no more.
const ANSWER_MAX: usize = 64 << 10;
