//! An example, as it is written, before the API.

use super::api::Api;
use super::support::{Answer, Process, Request, patiently, post};
use serde_json::Value;
use std::time::Duration;

/// The program, with an example for its configuration; only addresses and the store are others.
pub struct World {
    pub api: Api,
    pub proxy: Process,
}

impl World {
    pub async fn of(example: &str) -> Self {
        let api = Api::start().await;
        let path = format!(
            "{}/config/examples/{example}.toml",
            env!("CARGO_MANIFEST_DIR")
        );
        let url = api.url();
        let flags = [
            ("--config", path.as_str()),
            ("--listen", "127.0.0.1:0"),
            ("--admin", "127.0.0.1:0"),
            ("--upstream", &url),
            ("--store", "memory:"),
        ];
        let proxy = Process::with_flags(env!("CARGO_BIN_EXE_idemproxy"), &flags, &[]).await;
        Self { api, proxy }
    }

    pub async fn send(&self, request: &Request) -> Answer {
        self.proxy.send(request).await
    }

    /// Waits until so many duplicates wait for an answer.
    pub async fn waiting(&self, count: usize) {
        let line = format!("idemproxy_waiters {count}");
        patiently(async {
            while !self
                .proxy
                .page("/metrics")
                .await
                .text()
                .lines()
                .any(|found| found == line)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// A request with a JSON body.
pub fn json(method: &str, target: &str, body: &Value) -> Request {
    Request::new(method, target)
        .field("Content-Type", "application/json")
        .body(body.to_string())
}

/// A `POST` of JSON with a key in the header.
pub fn keyed(target: &str, key: &str, body: &Value) -> Request {
    post(target, key, body.to_string()).field("Content-Type", "application/json")
}

/// A request as the bearer of this token.
pub fn bearing(request: Request, token: &str) -> Request {
    request.field("Authorization", format!("Bearer {token}"))
}

pub trait Told {
    /// It is the first answer, and is kept.
    fn is_kept(&self, status: u16);
    /// It is an answer that is not kept.
    fn is_not_kept(&self, status: u16);
    /// It is the first one again.
    fn repeats(&self, first: &Answer);
    /// It is a refusal of the proxy's.
    fn is_refused(&self, status: u16, error: &str);
}

impl Told for Answer {
    #[track_caller]
    fn is_kept(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.field("x-idempotency-stored").as_deref(),
            Some("true"),
            "{self:?}"
        );
    }

    #[track_caller]
    fn is_not_kept(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.field("x-idempotency-stored").as_deref(),
            Some("false"),
            "{self:?}"
        );
    }

    #[track_caller]
    fn repeats(&self, first: &Answer) {
        assert_eq!(
            self.field("x-idempotency-replay").as_deref(),
            Some("true"),
            "{self:?}"
        );
        assert_eq!((self.status, &self.body), (first.status, &first.body));
        let id = "x-idempotency-id";
        assert_eq!(self.field(id), first.field(id));
    }

    #[track_caller]
    fn is_refused(&self, status: u16, error: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.field("x-idempotency-error").as_deref(),
            Some(error),
            "{self:?}"
        );
    }
}
