//! A store, an upstream and a proxy between them, and what tests say about answers.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    Answer, Client, Ending, Process, Proxy, RedisServer, Request, Upstream, patiently, post,
};

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
    pub redis: Option<RedisServer>,
    _directory: Option<TempDir>,
}

impl Backing {
    /// Whether it outlives the program.
    pub fn is_durable(self) -> bool {
        self != Self::Memory
    }

    fn open(self) -> Kept {
        let directory = (self == Self::Embedded).then(|| TempDir::new().unwrap());
        let redis = (self == Self::Redis).then(RedisServer::start);
        Kept {
            url: match (&directory, &redis) {
                (Some(directory), _) => format!("embedded:{}", directory.path().display()),
                (_, Some(redis)) => redis.url(),
                _ => "memory:".to_owned(),
            },
            redis,
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
    /// With a policy: the lines of `[policy]`.
    pub async fn policy(backing: Backing, policy: &str) -> Self {
        Self::config(backing, &format!("[policy]\n{policy}")).await
    }

    /// With whole sections of the configuration.
    pub async fn config(backing: Backing, sections: &str) -> Self {
        Self::with_upstream(backing, sections, Upstream::start().await).await
    }

    pub async fn with_upstream(backing: Backing, sections: &str, upstream: Upstream) -> Self {
        let kept = backing.open();
        let config = configuration(&upstream, &kept.url, sections);
        Self {
            proxy: Proxy::start(&config).await,
            upstream,
            kept,
        }
    }

    pub async fn send(&self, request: &Request) -> Answer {
        self.proxy.send(request).await
    }

    /// `POST /orders` with a key and a body.
    pub async fn post(&self, key: &str, body: &str) -> Answer {
        self.send(&post("/orders", key, body)).await
    }

    pub async fn connect(&self) -> Client {
        self.proxy.connect().await
    }

    /// For so many milliseconds, each duplicate finds the first one in flight: under `unknown_outcome = "retry"` it would take the key over
    /// if the lease had lapsed.
    pub async fn stays_in_flight(&self, request: &Request, millis: u64) {
        let until = tokio::time::Instant::now() + Duration::from_millis(millis);
        while tokio::time::Instant::now() < until {
            self.send(request)
                .await
                .is_problem(409, "in-progress")
                .in_state("in-flight");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client that has sent this request, and waits.
    pub async fn begin(&self, request: &Request) -> Client {
        let mut client = self.connect().await;
        client.send(&request.bytes()).await;
        client
    }

    /// Sends a request until its answer is not that the first is still running.
    pub async fn settled(&self, request: &Request) -> Answer {
        patiently(async {
            loop {
                let answer = self.send(request).await;
                if answer.field("x-idempotency-error").as_deref() != Some("in-progress") {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

/// The same, with the program as a process of its own.
pub struct ProcessWorld {
    pub upstream: Upstream,
    pub proxy: Process,
    _kept: Kept,
    config: String,
}

impl ProcessWorld {
    pub async fn config(backing: Backing, sections: &str) -> Self {
        let upstream = Upstream::start().await;
        let kept = backing.open();
        let config = configuration(&upstream, &kept.url, sections);
        Self {
            proxy: Process::start(PROGRAM, &config).await,
            upstream,
            _kept: kept,
            config,
        }
    }

    pub fn configuration(&self) -> &str {
        &self.config
    }

    /// Kills the program as a crash would, and starts it again on the same store.
    pub async fn crash(&mut self) {
        self.proxy.kill().await;
        self.again().await;
    }

    /// Starts the program again, after its end.
    pub async fn again(&mut self) {
        self.proxy = Process::start(PROGRAM, &self.config).await;
    }

    /// Sends a request until its answer is not that the first is still running.
    pub async fn settled(&self, request: &Request) -> Answer {
        patiently(async {
            loop {
                let answer = self.proxy.send(request).await;
                if answer.field("x-idempotency-error").as_deref() != Some("in-progress") {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

/// A configuration file for an upstream and a store, with further sections.
pub fn configuration(upstream: &Upstream, store: &str, sections: &str) -> String {
    let timeout = if sections.contains("[store]") {
        ""
    } else {
        // A busy machine is no outage.
        "[store]\ntimeout = \"10s\"\n"
    };
    format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\nservice = \"tests\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n{}",
        upstream.url(),
        format!("{timeout}{sections}")
            .replace("[store]\n", &format!("[store]\nurl = \"{}\"\n", store)),
    )
}

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_idemproxy");

/// What tests say about answers.
pub trait Says {
    /// The upstream's, first time: its status, whether it is stored, and the state of the record.
    fn is_first(&self, status: u16, stored: bool, state: &str) -> &Self;
    /// A replay of this answer.
    fn replays(&self, first: &Answer) -> &Self;
    /// One of the proxy's own.
    fn is_problem(&self, status: u16, error: &str) -> &Self;
    /// With this state of the record.
    fn in_state(&self, state: &str) -> &Self;
}

impl Says for Answer {
    #[track_caller]
    fn is_first(&self, status: u16, stored: bool, state: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.ending, Ending::Whole, "{self:?}");
        let stored_says = if stored { "true" } else { "false" };
        assert_eq!(self.all("x-idempotency-stored"), [stored_says], "{self:?}");
        assert_eq!(self.field("x-idempotency-replay"), None, "{self:?}");
        assert_eq!(self.field("x-idempotency-error"), None, "{self:?}");
        assert_eq!(
            self.field("x-idempotency-expires").is_some(),
            stored,
            "{self:?}"
        );
        self.in_state(state)
    }

    #[track_caller]
    fn replays(&self, first: &Answer) -> &Self {
        assert_eq!(self.all("x-idempotency-replay"), ["true"], "{self:?}");
        assert_eq!(self.status, first.status, "{self:?}");
        assert_eq!(self.body, first.body, "{self:?}");
        assert_eq!(self.trailers, first.trailers, "{self:?}");
        assert_eq!(self.ending, Ending::Whole, "{self:?}");
        let lasting = |answer: &Answer| -> Vec<(String, Vec<u8>)> {
            answer
                .fields
                .iter()
                .filter(|(name, _)| {
                    ![
                        "date",
                        "connection",
                        "set-cookie",
                        "x-idempotency-stored",
                        "x-idempotency-replay",
                    ]
                    .contains(&name.to_lowercase().as_str())
                })
                .cloned()
                .collect()
        };
        let sorted = |mut fields: Vec<(String, Vec<u8>)>| {
            // The order of different names means nothing (RFC 9110, 5.3); that of one name's values stays.
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            fields
        };
        assert_eq!(
            sorted(lasting(self)),
            sorted(lasting(first)),
            "\n{self:?}\nis no replay of\n{first:?}"
        );
        self.in_state("completed")
    }

    #[track_caller]
    fn is_problem(&self, status: u16, error: &str) -> &Self {
        assert_eq!(self.all("x-idempotency-error"), [error], "{self:?}");
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.all("content-type"),
            ["application/problem+json"],
            "{self:?}"
        );
        assert_eq!(self.field("x-idempotency-replay"), None, "{self:?}");
        assert_eq!(self.field("x-idempotency-expires"), None, "{self:?}");
        let document = self.document();
        let code = match error {
            "in-progress" => "REQUEST_IN_PROGRESS".to_owned(),
            other => other.to_uppercase().replace('-', "_"),
        };
        assert_eq!(document["code"], code, "{self:?}");
        assert_eq!(document["status"], status, "{self:?}");
        assert_eq!(document["error"]["type"], "idempotency_error", "{self:?}");
        assert_eq!(document["error"]["code"], code, "{self:?}");
        assert_eq!(
            document["instance"].as_str().map(str::to_owned),
            self.field("x-idempotency-id"),
            "{self:?}"
        );
        let retry_after = matches!(error, "in-progress" | "still-processing") || status == 503;
        assert_eq!(self.field("retry-after").is_some(), retry_after, "{self:?}");
        let forbids = matches!(
            (status, error),
            (
                409,
                "outcome-unknown" | "response-not-stored" | "credentials-changed"
            ) | (422, _)
        );
        for name in ["stripe-should-retry", "x-should-retry"] {
            let says = self.field(name);
            assert_eq!(says.as_deref(), forbids.then_some("false"), "{self:?}");
        }
        self
    }

    #[track_caller]
    fn in_state(&self, state: &str) -> &Self {
        assert_eq!(self.all("x-idempotency-state"), [state], "{self:?}");
        let id = self.field("x-idempotency-id").unwrap_or_default();
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{self:?}"
        );
        self
    }
}

/// The line of the metrics page that counts claims the store has answered.
pub const CLAIMS: &str = "idemproxy_store_duration_seconds_count{op=\"insert\"}";
