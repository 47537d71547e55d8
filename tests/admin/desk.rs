//! The admin listener over a store without a proxy, into which a test puts records of every kind.

use std::sync::Arc;
use std::time::Duration;

use idemproxy::admin::{Admin, Handling, Operated, Report, serve_admin};
use idemproxy::config::{self, Overrides};
use idemproxy::idempotency::digest::{Digest, Hasher};
use idemproxy::idempotency::{
    Expect, Fingerprint, Key, Origin, Part, Record, RecordId, Secret, State, StoredResponse, Terms,
    Token, UnixMillis,
};
use idemproxy::store::{AnyStore, Inserted, Replaced, Store};
use idemproxy::telemetry::Metrics;
use tokio::net::TcpListener;

use crate::world::{Backing, Kept, Operator};

/// The admin listener over a store.
pub struct Desk {
    pub store: Arc<AnyStore>,
    pub operator: Operator,
    _kept: Kept,
}

struct Program(Arc<AnyStore>);

impl Report for Program {
    fn ready(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Operated for Program {
    fn store(&self) -> Option<Arc<AnyStore>> {
        Some(self.0.clone())
    }

    fn terms(&self, _: &str) -> Terms {
        Terms {
            lease: Duration::from_secs(30),
            retention: Duration::from_secs(7_200),
            failed_retention: Duration::from_secs(3_600),
            unknown_retention: Duration::from_secs(86_400),
        }
    }

    fn handling(&self, _: &str) -> Option<Handling> {
        Some(Handling {
            mode: "enforce",
            unknown_outcome: "retry",
        })
    }

    fn digest(&self, key: &Key) -> Digest {
        Secret::none().key(key)
    }

    fn max_response(&self) -> u64 {
        1_000
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

impl Desk {
    pub async fn open(backing: Backing) -> Self {
        let kept = backing.open();
        let text = format!(
            "upstream = \"http://127.0.0.1:1\"\nservice = \"tests\"\n[store]\nurl = \"{}\"\ntimeout = \"10s\"",
            kept.url
        );
        let settings = config::from_toml("f", &text, &Overrides::default()).unwrap();
        let store = Arc::new(AnyStore::open(&settings.store).await.unwrap());
        let program = Arc::new(Program(store.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let operator = Operator::at(listener.local_addr().unwrap());
        let admin = Admin {
            reload: Arc::default(),
            report: program.clone(),
            metrics: Arc::new(Metrics::new()),
            operated: program,
            hosts: Arc::new([]),
            token: None,
        };
        tokio::spawn(serve_admin(listener, admin, std::future::pending()));
        Self {
            store,
            operator,
            _kept: kept,
        }
    }

    /// Puts a record there as a proxy would, and gives back its id.
    pub async fn put(&self, record: &Record) -> String {
        let mut hasher = Hasher::new("ids of the tests");
        hasher.part(record.token.as_bytes());
        let id = RecordId::from_bytes(hasher.finish());
        let claim = Record {
            state: State::InFlight,
            // Its own may be over before it is settled.
            ttl: record.ttl.max(Duration::from_secs(60)),
            ..record.clone()
        };
        let inserted = self.store.insert(id, &claim).await.unwrap();
        assert_eq!(inserted, Inserted::Created);
        if record.state != State::InFlight {
            let expect = Expect::Held(record.token);
            let replaced = self.store.replace(id, expect, record).await.unwrap();
            assert_eq!(replaced, Replaced::Applied);
        }
        id.to_string()
    }
}

/// A record in this state, under a token of its own. A claim lapses after the test.
pub fn record(state: State) -> Record {
    let settled = state != State::InFlight;
    Record {
        token: Token::from_bytes(uuid::Uuid::now_v7().into_bytes()),
        state,
        ttl: Duration::from_secs(3_600),
        lease: Duration::from_secs(600),
        attempts: 1,
        in_doubt: false,
        trace: None,
        created: UnixMillis(1_790_000_000_000),
        settled: settled.then_some(UnixMillis(1_790_000_001_500)),
        expires: (state == State::Completed).then_some(UnixMillis(1_790_086_401_500)),
        fingerprint: Some(Fingerprint::from_iter([Part {
            name: "body",
            digest: [7; 16],
        }])),
        credentials: Some([9; 16]),
        origin: Origin::new("orders", "POST", "/orders", digest_of("k-1")),
        status: settled.then_some(201),
        error: None,
        response: (state == State::Completed).then(|| StoredResponse {
            status: 201,
            headers: [("x-secret", "of the header")].into_iter().collect(),
            body: "of the body".into(),
            trailers: Default::default(),
        }),
    }
}

/// What a record holds of a key.
pub fn digest_of(key: &str) -> [u8; 16] {
    let mut hasher = Hasher::new("key");
    hasher.part(key.as_bytes());
    hasher.finish()
}
