//! A store and a proxy before a scripted upstream, and an operator.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Client, Proxy, RedisServer, Request, Upstream};

/// Where the records of a test are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    Memory,
    Embedded,
    Redis,
}

/// What keeps a store alive for as long as the test runs.
pub struct Kept {
    pub url: String,
    _redis: Option<RedisServer>,
    _directory: Option<TempDir>,
}

impl Backing {
    pub fn open(self) -> Kept {
        let directory = (self == Self::Embedded).then(|| TempDir::new().unwrap());
        let redis = (self == Self::Redis).then(RedisServer::start);
        Kept {
            url: match (&directory, &redis) {
                (Some(directory), _) => format!("embedded:{}", directory.path().display()),
                (_, Some(redis)) => redis.url(),
                _ => "memory:".to_owned(),
            },
            _redis: redis,
            _directory: directory,
        }
    }
}

/// An upstream, and a proxy before it.
pub struct World {
    pub upstream: Upstream,
    pub proxy: Proxy,
    pub kept: Kept,
}

impl World {
    /// With whole sections of the configuration, of which the first is `[policy]`.
    pub async fn start(backing: Backing, policy: &str) -> Self {
        let upstream = Upstream::start().await;
        let kept = backing.open();
        let config = configuration(&upstream, &kept.url, "", &format!("[policy]\n{policy}"));
        Self {
            proxy: Proxy::start(&config).await,
            upstream,
            kept,
        }
    }

    pub fn operator(&self) -> Operator {
        Operator::at(self.proxy.admin())
    }

    pub async fn send(&self, request: &Request) -> Answer {
        self.proxy.send(request).await
    }

    /// A client that has sent this request, and waits.
    pub async fn begin(&self, request: &Request) -> Client {
        let mut client = self.proxy.connect().await;
        client.send(&request.bytes()).await;
        client
    }
}

/// A configuration file; `admin` are further lines of `[admin]`.
pub fn configuration(upstream: &Upstream, store: &str, admin: &str, sections: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\nservice = \"tests\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n{admin}\n\
         [store]\nurl = \"{store}\"\ntimeout = \"10s\"\n{sections}",
        upstream.url(),
    )
}

/// Who asks the admin listener.
#[derive(Clone)]
pub struct Operator {
    pub address: SocketAddr,
}

impl Operator {
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// A request as a sane client sends it.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let mut request = Request::new(method, target);
        request.fields = vec![("Host".to_owned(), self.address.to_string().into_bytes())];
        request
    }

    pub async fn send(&self, request: &Request) -> Answer {
        Client::once(self.address, request).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send(&self.request("GET", target)).await
    }

    /// What a page tells.
    #[track_caller]
    pub fn told(&self, target: &str) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let answer = self.get(target).await;
            assert_eq!(answer.status, 200, "{target} at {place}: {answer:?}");
            answer.document()
        }
    }

    /// The only record that there is.
    pub async fn only(&self) -> Value {
        let page = self.told("/v1/keys").await;
        let keys = page["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 1, "{page}");
        keys[0].clone()
    }

    pub fn change(&self, method: &str, target: &str, body: &Value) -> Request {
        self.request(method, target)
            .field("Content-Type", "application/json")
            .body(body.to_string())
    }

    /// `POST /v1/keys/{id}/release`, with further fields of the body.
    pub async fn release(&self, id: &str, more: Value) -> Answer {
        let target = format!("/v1/keys/{id}/release");
        self.send(&self.change("POST", &target, &with_reason(more)))
            .await
    }

    /// `POST /v1/keys/{id}/resolve`, with further fields of the body.
    pub async fn resolve(&self, id: &str, more: Value) -> Answer {
        let target = format!("/v1/keys/{id}/resolve");
        self.send(&self.change("POST", &target, &with_reason(more)))
            .await
    }

    /// `DELETE /v1/keys/{id}`, with further fields of the body.
    pub async fn delete(&self, id: &str, more: Value) -> Answer {
        let target = format!("/v1/keys/{id}");
        self.send(&self.change("DELETE", &target, &with_reason(more)))
            .await
    }
}

fn with_reason(mut body: Value) -> Value {
    body["reason"] = json!("the tests");
    body
}

/// What tests say about the API's answers.
pub trait Says {
    /// Carried out; what the record has become.
    fn is_done(&self) -> Value;
    /// Refused, with this code.
    fn is_refused(&self, status: u16, code: &str) -> &Self;
}

impl Says for Answer {
    #[track_caller]
    fn is_done(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let entry = self.document();
        let tag = format!("\"{}\"", entry["version"].as_str().unwrap());
        assert_eq!(self.field("etag"), Some(tag), "{self:?}");
        entry
    }

    #[track_caller]
    fn is_refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.field("content-type").as_deref(),
            Some("application/problem+json"),
            "{self:?}"
        );
        let document = self.document();
        assert_eq!(document["status"], status, "{self:?}");
        assert_eq!(document["code"].as_str().unwrap_or(""), code, "{self:?}");
        self
    }
}
