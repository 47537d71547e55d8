//! Asks a proxy's admin listener.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use idemproxy::wire::BoxError;
use tokio::net::TcpStream;

/// A proxy's admin listener.
#[derive(Debug)]
pub(crate) struct Client {
    authority: Authority,
    /// The `Authorization` that goes with each request.
    token: Option<HeaderValue>,
    timeout: Duration,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Client {
    /// Of the listener at `admin`, which is spoken to in plain HTTP. Each answer has to be there within `timeout`.
    ///
    /// # Errors
    ///
    /// What is wrong with the address, for people.
    pub(crate) fn new(admin: &Uri, timeout: Duration) -> Result<Self, String> {
        match admin.authority() {
            Some(authority) if admin.scheme_str() == Some("http") => Ok(Self {
                authority: authority.clone(),
                token: None,
                timeout,
            }),
            _ => Err(format!(
                "--admin: {admin}: expected an address such as \"http://127.0.0.1:9090\""
            )),
        }
    }

    /// With the token in this file.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, for people; nothing of the token.
    pub(crate) fn with_token(mut self, file: &Path) -> Result<Self, String> {
        let fault =
            |what: &dyn std::fmt::Display| format!("--token-file: {}: {what}", file.display());
        let text = std::fs::read_to_string(file)
            .map_err(|error| fault(&format_args!("cannot be read: {error}")))?;
        let token = Some(text.trim()).filter(|token| !token.is_empty());
        let mut value = token
            .and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok())
            .ok_or_else(|| fault(&"holds no token"))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// Where it is.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sends one request, on a connection of its own; a body is JSON.
    ///
    /// # Errors
    ///
    /// Why there is no answer. The request may have been carried out all the same.
    pub(crate) fn ask(
        &self,
        method: Method,
        target: &str,
        body: Option<String>,
    ) -> Result<Answer, BoxError> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.authority.as_str());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(within(self.timeout, self.exchange(request)));
        // Nobody waits for a name that is still being looked up.
        runtime.shutdown_background();
        answer
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, BoxError> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let port = self.authority.port_u16().unwrap_or(80);
        let connect = async { Ok(TcpStream::connect((host, port)).await?) };
        let stream = within(CONNECT_TIMEOUT, connect).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Answer {
            status: head.status,
            body: Limited::new(body, ANSWER_MAX).collect().await?.to_bytes(),
        })
    }
}

async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Many times a page of a thousand records.
const ANSWER_MAX: usize = 64 << 20;
