//! The HTTP API: what each call does.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::dice;
use super::kind::{Kind, NoKind};
use super::plan::{Installed, Silence};
use super::proxy::Proxy;
use super::toxic::Stream;

/// The proxies there are.
pub(super) struct Api {
    proxies: BTreeMap<String, Proxy>,
    /// Toxics so far.
    toxics: u64,
    seed: u64,
    stop: CancellationToken,
}

/// A call of the API.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Bytes,
}

/// Status and document.
pub(super) type Answer = (u16, Option<Value>);

type Reply = Result<Answer, Refusal>;

struct Refusal {
    status: u16,
    error: String,
}

#[derive(Deserialize)]
struct ProxyAsked {
    #[serde(default)]
    name: String,
    #[serde(default)]
    listen: String,
    #[serde(default)]
    upstream: String,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct ProxyChange {
    listen: Option<String>,
    upstream: Option<String>,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct ToxicAsked {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    stream: Option<String>,
    toxicity: Option<f64>,
    #[serde(default)]
    attributes: Map<String, Value>,
}

#[derive(Deserialize)]
struct ToxicChange {
    toxicity: Option<f64>,
    #[serde(default)]
    attributes: Map<String, Value>,
}

impl Api {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            proxies: BTreeMap::new(),
            toxics: 0,
            seed: dice::seed(),
            stop,
        }
    }

    pub(super) async fn answer(&mut self, call: Call) -> Answer {
        self.route(&call)
            .await
            .unwrap_or_else(|refusal| (refusal.status, Some(refusal.document())))
    }

    async fn route(&mut self, call: &Call) -> Reply {
        let path: Vec<_> = call.path.trim_matches('/').split('/').collect();
        let body = &call.body;
        match (call.method.as_str(), path.as_slice()) {
            ("GET", ["version"]) => Ok((200, Some(json!({"version": VERSION})))),
            ("POST", ["reset"]) => self.reset().await,
            ("POST", ["populate"]) => self.populate(body).await,
            ("GET", ["proxies"]) => {
                let documents = self
                    .proxies
                    .iter()
                    .map(|(name, proxy)| (name.clone(), proxy.document()));
                Ok((200, Some(Value::Object(documents.collect()))))
            }
            ("POST", ["proxies"]) => self.create(parse(body)?).await,
            ("GET", ["proxies", name]) => Ok((200, Some(self.proxy(name)?.document()))),
            ("POST" | "PATCH", ["proxies", name]) => self.update(name, body).await,
            ("DELETE", ["proxies", name]) => {
                self.proxy(name)?.stop().await;
                self.proxies.remove(*name);
                Ok((204, None))
            }
            ("GET", ["proxies", name, "fired"]) => {
                Ok((200, Some(json!(self.proxy(name)?.fired.counts()))))
            }
            ("GET", ["proxies", name, "toxics"]) => {
                Ok((200, Some(self.proxy(name)?.plan().document())))
            }
            ("POST", ["proxies", name, "toxics"]) => self.add(name, body),
            ("GET", ["proxies", name, "toxics", toxic]) => {
                let plan = self.proxy(name)?.plan();
                let toxic = plan.find(toxic).ok_or_else(no_toxic)?;
                Ok((200, Some(toxic.document())))
            }
            ("POST" | "PATCH", ["proxies", name, "toxics", toxic]) => {
                self.change(name, toxic, body)
            }
            ("DELETE", ["proxies", name, "toxics", toxic]) => {
                let proxy = self.proxy(name)?;
                proxy.plan().find(toxic).ok_or_else(no_toxic)?;
                proxy.replan(|plan| plan.toxics.retain(|present| present.name != *toxic));
                Ok((204, None))
            }
            _ => Err(Refusal::new(404, "page not found")),
        }
    }

    async fn reset(&mut self) -> Reply {
        for proxy in self.proxies.values_mut() {
            proxy.start().await?;
            proxy.replan(|plan| plan.toxics.clear());
        }
        Ok((204, None))
    }

    async fn populate(&mut self, body: &Bytes) -> Reply {
        let asked: Vec<ProxyAsked> = parse(body)?;
        let mut names = HashSet::new();
        for (at, proxy) in asked.iter().enumerate() {
            proxy.check(&format!(" at proxy {}", at + 1))?;
            if !names.insert(proxy.name.clone()) {
                let error = format!("duplicate proxy name {:?}", proxy.name);
                return Err(Refusal::new(500, error));
            }
        }
        let mut documents = Vec::new();
        for proxy in asked {
            let name = proxy.name.clone();
            let same = |present: &Proxy| {
                (&present.listen, &present.upstream) == (&proxy.listen, &proxy.upstream)
            };
            if let Some(present) = self.proxies.get_mut(&name)
                && same(present)
            {
                let enabled = json!({"enabled": proxy.enabled.unwrap_or(true)});
                self.update(&name, &Bytes::from(enabled.to_string()))
                    .await?;
            } else {
                if let Some(mut former) = self.proxies.remove(&name) {
                    former.stop().await;
                }
                self.create(proxy).await?;
            }
            documents.push(self.proxy(&name)?.document());
        }
        Ok((201, Some(json!({"proxies": documents}))))
    }

    async fn create(&mut self, asked: ProxyAsked) -> Reply {
        asked.check("")?;
        if self.proxies.contains_key(&asked.name) {
            return Err(Refusal::new(409, "proxy already exists"));
        }
        let ProxyAsked {
            name,
            listen,
            upstream,
            enabled,
        } = asked;
        let stop = self.stop.clone();
        let mut proxy = Proxy::new(name.clone(), listen, upstream, self.seed, stop);
        if enabled.unwrap_or(true) {
            proxy.start().await?;
        }
        let document = proxy.document();
        self.proxies.insert(name, proxy);
        Ok((201, Some(document)))
    }

    async fn update(&mut self, name: &str, body: &Bytes) -> Reply {
        let proxy = self.proxy(name)?;
        let change: ProxyChange = parse(body)?;
        let enabled = change.enabled.unwrap_or(proxy.is_enabled());
        let listen = change.listen.unwrap_or(proxy.listen.clone());
        let upstream = change.upstream.unwrap_or(proxy.upstream.clone());
        if (&listen, &upstream) != (&proxy.listen, &proxy.upstream) {
            proxy.stop().await;
            (proxy.listen, proxy.upstream) = (listen, upstream);
        }
        if enabled {
            proxy.start().await?;
        } else {
            let closed = proxy.stop().await;
            proxy.fired.count("disabled", closed);
        }
        Ok((200, Some(proxy.document())))
    }

    fn add(&mut self, name: &str, body: &Bytes) -> Reply {
        self.toxics += 1;
        let id = self.toxics;
        let proxy = self.proxy(name)?;
        let asked: ToxicAsked = parse(body)?;
        let word = asked.stream.as_deref().unwrap_or("downstream");
        let stream = match word.to_lowercase().as_str() {
            "upstream" => Stream::Upstream,
            "downstream" => Stream::Downstream,
            _ => {
                let error = "stream was invalid, can be either upstream or downstream";
                return Err(Refusal::new(400, error));
            }
        };
        let toxic = match asked.name.as_str() {
            "" => format!("{}_{word}", asked.kind),
            name => name.to_owned(),
        };
        let kind = Kind::parse(&asked.kind, asked.attributes)?;
        if proxy.plan().find(&toxic).is_some() {
            return Err(Refusal::new(409, "toxic already exists"));
        }
        let toxicity = asked.toxicity.unwrap_or(1.0);
        let toxic = Installed::new(id, toxic, kind, stream, toxicity);
        let document = toxic.document();
        let before = proxy.accepted();
        proxy.replan(|plan| {
            if toxic.kind == (Kind::Silence {}) {
                plan.silences.push(Silence {
                    before,
                    id,
                    toxicity,
                });
            }
            plan.toxics.push(toxic);
        });
        Ok((200, Some(document)))
    }

    fn change(&mut self, name: &str, toxic: &str, body: &Bytes) -> Reply {
        let proxy = self.proxy(name)?;
        let plan = proxy.plan();
        let present = plan.find(toxic).ok_or_else(no_toxic)?;
        let change: ToxicChange = parse(body)?;
        let changed = Installed::new(
            present.id,
            present.name.clone(),
            present.kind.with(change.attributes)?,
            present.stream,
            change.toxicity.unwrap_or(present.toxicity),
        );
        let document = changed.document();
        proxy.replan(|plan| {
            for toxic in &mut plan.toxics {
                if toxic.id == changed.id {
                    *toxic = changed.clone();
                }
            }
        });
        Ok((200, Some(document)))
    }

    fn proxy(&mut self, name: &str) -> Result<&mut Proxy, Refusal> {
        self.proxies
            .get_mut(name)
            .ok_or_else(|| Refusal::new(404, "proxy not found"))
    }
}

impl ProxyAsked {
    fn check(&self, place: &str) -> Result<(), Refusal> {
        for (field, value) in [("name", &self.name), ("upstream", &self.upstream)] {
            if value.is_empty() {
                let error = format!("missing required field: {field}{place}");
                return Err(Refusal::new(400, error));
            }
        }
        Ok(())
    }
}

impl Refusal {
    fn new(status: u16, error: impl Into<String>) -> Self {
        let error = error.into();
        Self { status, error }
    }

    fn document(&self) -> Value {
        json!({"error": self.error, "status": self.status})
    }
}

impl From<NoKind> for Refusal {
    fn from(none: NoKind) -> Self {
        match none {
            NoKind::Unknown => Self::new(400, "invalid toxic type"),
            NoKind::Attributes(error) => Self::new(400, format!("bad request body: {error}")),
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::new(500, error.to_string())
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, format!("bad request body: {error}")))
}

fn no_toxic() -> Refusal {
    Refusal::new(404, "toxic not found")
}

/// The version whose API it is.
const VERSION: &str = "2.12.0";
