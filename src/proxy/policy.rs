//! What the proxy does with the requests of one route.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use http::{HeaderName, Method};

use crate::idempotency::json::Pointer;
use crate::idempotency::{
    JsonBody, KeyFormat, ResponseRule, Statuses, Template, Terms, Uuid7Bounds,
};

pub use crate::idempotency::UnknownOutcome;

/// The effective policy of one route: `[policy]` with the route's own settings over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Name of the route, for logs and metrics; `default` where no `[[route]]` matches.
    pub route: String,
    /// What is done at all.
    pub mode: Mode,
    /// Requests covered; others pass.
    pub methods: Vec<Method>,
    /// Where a key comes from; the first source that yields one.
    pub key: Vec<KeySource>,
    /// Whether a request without a key is refused.
    pub key_required: bool,
    /// Longest key taken, characters.
    pub key_max_length: usize,
    /// What a key that a client sends has to look like.
    pub key_format: KeyFormat,
    /// How far the timestamp of a version 7 UUID may lie from now, where `key_format` asks for one.
    pub uuid7: Uuid7Bounds,
    /// What a key is unique within, besides the service.
    pub scope: Vec<ScopePart>,
    /// What must not change between duplicates.
    pub fingerprint: Vec<FingerprintPart>,
    /// What [`FingerprintPart::JsonBody`] leaves out.
    pub json_body: JsonBody,
    /// How long a completed record is kept.
    pub retention: Duration,
    /// How long a released record is kept.
    pub failed_retention: Duration,
    /// How long a record in flight or unknown is kept.
    pub unknown_retention: Duration,
    /// How long a claim is honoured without a heartbeat.
    pub lease: Duration,
    /// What a duplicate gets while the first request is under way.
    pub in_flight: Meanwhile,
    /// How long a duplicate waits for the first request, where it does.
    pub wait_timeout: Duration,
    /// What a duplicate finds whose first request may have been carried out.
    pub unknown_outcome: UnknownOutcome,
    /// What a streamed upload that ended early leaves, once bytes went upstream.
    pub cut_upload: CutUpload,
    /// What happens when the store cannot be asked.
    pub store_error: StoreFailure,
    /// How long a client is kept waiting for the head of an answer.
    pub client_timeout: Duration,
    /// From the last byte of the request to the head of the answer.
    pub upstream_timeout: Duration,
    /// A larger request body is streamed and fingerprinted on the way, bytes.
    pub max_buffered_request: u64,
    /// A larger answer is completed without being kept, bytes.
    pub max_stored_response: u64,
    /// A larger request body is refused, bytes.
    pub max_request_body: Option<u64>,
    /// Whether the upstream sees the client's `Host`, or its own name.
    pub preserve_host: bool,
    /// Whether `Set-Cookie` is part of a stored answer.
    pub store_set_cookie: bool,
    /// How often a request that was not carried out is sent again.
    pub retry: RetryPolicy,
    /// What the operator says of the upstream's answers; the first rule that matches wins, and the built-in ones come last.
    pub responses: Vec<ResponseRule>,
    /// How the upstream is asked whether an operation took place.
    pub probe: Option<Probe>,
    /// How the upstream is asked whether a caller's other credentials still stand.
    pub replay_check: Option<ReplayCheck>,
    /// Which of the configured upstreams (an index) the route goes to.
    pub upstream: usize,
    /// Which of [`Routes::all`](super::Routes::all) it is.
    pub place: usize,
}

/// The policy where nothing is written.
impl Default for Policy {
    fn default() -> Self {
        Self {
            route: "default".to_owned(),
            mode: Mode::Enforce,
            // The methods that RFC 9110 does not call safe.
            methods: vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE],
            key: vec![KeySource::Header(HeaderName::from_static(
                "idempotency-key",
            ))],
            // In front of an API that knows nothing of keys, most clients send none.
            key_required: false,
            // As Stripe has it.
            key_max_length: 255,
            key_format: KeyFormat::Any,
            uuid7: Uuid7Bounds {
                // Clocks that are set by network time are nearer.
                max_future: Duration::from_secs(60),
                // A queue on a device that was offline for a week.
                max_age: Duration::from_secs(7 * 86_400),
            },
            scope: vec![ScopePart::Method, ScopePart::Path, ScopePart::Caller],
            fingerprint: vec![
                FingerprintPart::Method,
                FingerprintPart::Path,
                FingerprintPart::Query,
                FingerprintPart::Body,
            ],
            json_body: JsonBody::default(),
            // Clients that retry do so within the day.
            retention: Duration::from_secs(24 * 3_600),
            failed_retention: Duration::from_secs(3_600),
            // Time for people to find out what happened.
            unknown_retention: Duration::from_secs(7 * 86_400),
            // Two lost heartbeats are survived; a crash is noticed within half a minute.
            lease: Duration::from_secs(30),
            in_flight: Meanwhile::Reject,
            // Longer than most requests take, and within the patience of most clients.
            wait_timeout: Duration::from_secs(30),
            unknown_outcome: UnknownOutcome::Reject,
            cut_upload: CutUpload::Unknown,
            store_error: StoreFailure::Reject,
            // Below the 60 s after which common load balancers and clients give up.
            client_timeout: Duration::from_secs(55),
            // Waiting is cheap, and giving up leaves the outcome in doubt.
            upstream_timeout: Duration::from_secs(5 * 60),
            max_buffered_request: 1 << 20,
            max_stored_response: 1 << 20,
            max_request_body: None,
            preserve_host: true,
            store_set_cookie: false,
            retry: RetryPolicy::default(),
            responses: Vec::new(),
            probe: None,
            replay_check: None,
            upstream: 0,
            place: 0,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(100),
            max: Duration::from_secs(8),
            jitter: 0.3,
            on_connect: true,
            on_status: Vec::new(),
        }
    }
}

impl Policy {
    /// Whether the upstream may be asked about an operation by its key.
    pub(super) fn asks_by_key(&self) -> bool {
        let probe = self.probe.iter().map(|probe| &probe.path);
        let rules = self
            .responses
            .iter()
            .filter_map(|rule| rule.reply_from.as_ref());
        probe.chain(rules).any(Template::names_key)
    }

    /// The durations that a claim writes into its record.
    pub fn terms(&self) -> Terms {
        Terms {
            lease: self.lease,
            retention: self.retention,
            failed_retention: self.failed_retention,
            unknown_retention: self.unknown_retention,
        }
    }
}

/// What is done at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The guarantee.
    Enforce,
    /// Requests pass, and what enforcement would have done is counted.
    Observe,
    /// Nothing: requests pass.
    Off,
}

impl Mode {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A request header.
    Header(HeaderName),
    /// A parameter of the query, by its decoded name.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// A scalar in a JSON body.
    Json(Pointer),
    /// What the request is: its fingerprint. Every request has one.
    Content,
}

/// For people, as in "the key in …".
impl Display for KeySource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header {name}"),
            Self::Query(name) => write!(f, "the query parameter {name}"),
            Self::Cookie(name) => write!(f, "the cookie {name}"),
            Self::Json(pointer) => write!(f, "the body at {pointer}"),
            Self::Content => f.write_str("the content"),
        }
    }
}

/// One part of what a key is unique within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopePart {
    /// The request method.
    Method,
    /// The path, as forwarded.
    Path,
    /// Who calls, by the `Authorization` header.
    Caller,
    /// The query, as forwarded.
    Query,
    /// A request header; at most one.
    Header(HeaderName),
    /// A cookie; at most one.
    Cookie(String),
    /// A claim of a bearer token that `[jwt]` verifies.
    Jwt(String),
    /// The address of the client, behind trusted proxies.
    ClientIp,
}

impl ScopePart {
    /// Where it stands among the parts of a record id, whatever their order in the configuration.
    pub(super) fn place(&self) -> (u8, &str) {
        match self {
            Self::Method => (0, ""),
            Self::Path => (1, ""),
            Self::Caller => (2, ""),
            Self::Query => (3, ""),
            Self::Header(name) => (4, name.as_str()),
            Self::Cookie(name) => (5, name),
            Self::Jwt(claim) => (6, claim),
            Self::ClientIp => (7, ""),
        }
    }
}

/// As it is written in a configuration, and named in a record id.
impl Display for ScopePart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Path => f.write_str("path"),
            Self::Caller => f.write_str("caller"),
            Self::Query => f.write_str("query"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Jwt(claim) => write!(f, "jwt:{claim}"),
            Self::ClientIp => f.write_str("client-ip"),
        }
    }
}

/// One part of what must not change between duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FingerprintPart {
    /// The request method.
    Method,
    /// The path, as forwarded.
    Path,
    /// The query, as forwarded.
    Query,
    /// The bytes of the body.
    Body,
    /// The body, by what it says as JSON.
    JsonBody,
    /// A request header, every occurrence in order.
    Header(HeaderName),
}

/// What a duplicate gets while the first request is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// 409 `in-progress`.
    Reject,
    /// The first answer, if it comes in time.
    Wait,
}

/// What a streamed upload that ended early leaves, once bytes went upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutUpload {
    /// The upstream may act on half a body.
    Unknown,
    /// The operator says that it does not.
    Release,
}

/// What happens when the store cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// 503 `store-unavailable`.
    Reject,
    /// Forwarded without the guarantee.
    Forward,
}

/// How the upstream is asked whether an operation took place.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What is asked for, by a GET.
    pub path: Template,
    /// Statuses that say that it did.
    pub found: Statuses,
    /// Statuses that say that it did not.
    pub absent: Statuses,
    /// How long after the last heartbeat that is believed.
    pub after: Duration,
    /// The status of the answer to an operation that was found.
    pub reply_status: u16,
}

/// How the upstream is asked whether a caller's other credentials still stand.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayCheck {
    /// What is asked for, by a GET.
    pub path: Template,
    /// Statuses that say that they do.
    pub ok: Statuses,
    /// How long that is believed without asking again.
    pub cache: Duration,
}

/// How often a request that was not carried out is sent again, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// Wait before the second try; doubled each time.
    pub base: Duration,
    /// Longest wait.
    pub max: Duration,
    /// Share of the wait that is random, 0 to 1.
    pub jitter: f64,
    /// Whether a request that was provably not sent is tried again.
    pub on_connect: bool,
    /// Statuses by which the upstream says that it did not carry the request out.
    pub on_status: Vec<u16>,
}
