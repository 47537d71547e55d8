//! What a request would come to: the steps of its path up to the claim, told instead of taken.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use http::request::Parts;
use http::{Request, Uri};
use ipnet::IpNet;
use prometheus_client::metrics::gauge::Gauge;

use super::hold::{Hold, Holding};
use super::jwt::TokenVerifier;
use super::key;
use super::limits::Limits;
use super::payload::{self, Received};
use super::policy::{KeySource, Mode, Policy};
use super::routes::Routes;
use super::scope::Around;
use super::source::{self, BodySoFar, Sought};
use crate::idempotency::digest::Digest;
use crate::idempotency::{Fingerprint, Key, RecordId, ScopeParts, Secret, TakenFrom, UnixMillis};
use crate::wire::{Problem, full};

/// What a request comes to.
pub struct Site<'a> {
    /// Which policy a request is under.
    pub routes: &'a Routes,
    /// Part of every record id.
    pub service: &'a str,
    /// Under which what is stored is hashed.
    pub secret: &'a Secret,
    /// Verifies bearer tokens.
    pub jwt: Option<&'a TokenVerifier>,
    /// Whose word on the client's address is believed.
    pub trust_forwarded: &'a [IpNet],
    /// The upstreams, by their index.
    pub upstreams: Vec<&'a Uri>,
}

/// What a request would come to. Displays as lines for people, which tell the key, and of credentials no more than a digest.
#[derive(Debug)]
pub struct Explained {
    /// Method and path; the query may have credentials.
    pub request: String,
    /// Its policy.
    pub policy: Arc<Policy>,
    /// The pattern of its route; empty for the default one.
    pub pattern: String,
    /// Where it goes.
    pub upstream: String,
    /// The key and where it was found, as far as it got.
    pub key: Option<(Key, KeySource)>,
    /// What the key is unique within, as far as it got.
    pub scope: ScopeParts,
    /// What became of it.
    pub end: End,
    /// Under which digests are shown, as they are stored.
    secret: Secret,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum End {
    /// It is passed on as through any proxy.
    Passes(Why),
    /// The proxy refuses it by itself.
    Refused(Problem),
    /// The proxy asks the store for this record.
    Keyed {
        /// Names the record.
        id: RecordId,
        /// What the caller was taken from, where the scope names the caller.
        caller: Option<TakenFrom>,
        /// What must not change between duplicates.
        fingerprint: Fingerprint,
        /// How the body is read.
        body: Reading,
    },
}

/// Why a request is passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The mode says so.
    #[error("the mode of its route is off")]
    Off,
    /// Another method.
    #[error("its route does not cover the method")]
    Method,
    /// Covered, and without a key.
    #[error("it has no key, and needs none")]
    NoKey,
}

/// How the body of a keyed request is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Bytes.
    pub size: u64,
    /// Whether it is streamed, and not held.
    pub streamed: bool,
    /// Whether a larger one could be streamed, instead of being refused.
    pub may_stream: bool,
}

/// Tells what `request` comes to at the time `now`. Nothing is claimed or sent; whether there is room for it is not looked at.
pub async fn explain(site: &Site<'_>, request: Request<Bytes>, now: UnixMillis) -> Explained {
    let (head, body) = request.into_parts();
    let found = site.routes.find(&head.method, head.uri.path());
    let routes = site.routes.all().iter().zip(site.routes.patterns());
    let mut explained = Explained {
        request: format!("{} {}", head.method, head.uri.path()),
        policy: found.policy.clone(),
        pattern: routes
            .filter(|(policy, _)| Arc::ptr_eq(policy, found.policy))
            .map(|(_, pattern)| pattern.clone())
            .collect(),
        upstream: site
            .upstreams
            .get(found.policy.upstream)
            .map(|origin| origin.to_string().trim_end_matches('/').to_owned())
            .unwrap_or_default(),
        key: None,
        scope: ScopeParts::new(),
        end: End::Passes(if found.policy.methods.contains(&head.method) {
            Why::Off
        } else {
            Why::Method
        }),
        secret: site.secret.clone(),
    };
    let checked = key::check_connection(&head.headers, found.policy);
    let followed = match checked {
        Ok(()) if !found.covered => return explained,
        Ok(()) => follow(&mut explained, head, body, site, now).await,
        Err(problem) => Err(problem),
    };
    explained.end = followed.unwrap_or_else(End::Refused);
    explained
}

/// The path of a covered request, from its head to its record.
async fn follow(
    explained: &mut Explained,
    head: Parts,
    body: Bytes,
    site: &Site<'_>,
    now: UnixMillis,
) -> Result<End, Problem> {
    let Explained {
        policy, key, scope, ..
    } = explained;
    let found = |sought| match sought {
        Sought::Key(key, source) => Some((key, source.clone())),
        Sought::InBody | Sought::Nothing => None,
    };
    let mut name = |key: &Option<(Key, KeySource)>| {
        *scope = vec![("service".to_owned(), Some(site.service.into()))];
        let around = Around {
            service: site.service,
            secret: site.secret,
            jwt: site.jwt,
            peer: None,
            trust_forwarded: site.trust_forwarded,
            told: Some(scope),
        };
        key::extract(
            key.as_ref().map(|(key, _)| key.clone()),
            &head,
            policy,
            around,
        )
    };

    let mode = policy.mode;
    let record = |id: RecordId| match mode {
        Mode::Observe => id.observed(),
        Mode::Enforce | Mode::Off => id,
    };
    let by_head = source::find(&head, BodySoFar::Unread, policy, || now)?;
    let in_body = matches!(by_head, Sought::InBody);
    *key = found(by_head);
    let mut keyed = if in_body { None } else { name(key)? };
    if keyed.is_none() && !in_body {
        return Ok(End::Passes(Why::NoKey));
    }
    let mut holding = match keyed {
        Some(_) => Holding::keyed(policy),
        None => source::holding(&head, policy, || now),
    };
    let size = body.len() as u64;
    holding.look(&body);
    let hold = holding.hold();
    let mut room = Limits::new(1, u64::MAX, Gauge::default()).buffer();
    let read = payload::read(full(body), holding, policy, &mut room, UNHURRIED).await;
    let mut received = read.map_err(|unheld| {
        let problem = unheld.problem();
        match &keyed {
            Some(keyed) => problem.with_id(record(keyed.id).to_string()),
            None => problem,
        }
    })?;
    if in_body {
        *key = found(source::find(
            &head,
            BodySoFar::of(&received),
            policy,
            || now,
        )?);
        keyed = name(key)?;
    }
    let Some(keyed) = keyed else {
        return Ok(End::Passes(Why::NoKey));
    };
    let streamed = matches!(received, Received::Streamed(_));
    Ok(End::Keyed {
        id: record(keyed.id),
        caller: keyed.caller,
        fingerprint: received.consume(&head, policy, site.secret).await?,
        body: Reading {
            size,
            streamed,
            may_stream: hold != Some(Hold::All),
        },
    })
}

impl Display for Explained {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        line(f, "request", &self.request)?;
        match self.pattern.as_str() {
            "" => line(
                f,
                "route",
                format_args!("{} (no other matches)", policy.route),
            )?,
            pattern if pattern == policy.route => line(f, "route", pattern)?,
            pattern => line(f, "route", format_args!("{} {pattern}", policy.route))?,
        }
        line(f, "mode", format!("{:?}", policy.mode).to_lowercase())?;
        let methods: Vec<&str> = policy.methods.iter().map(|m| m.as_str()).collect();
        line(f, "methods", methods.join(" "))?;
        let covered = match &self.end {
            End::Passes(why @ (Why::Off | Why::Method)) => format!("no: {why}"),
            _ => "yes".to_owned(),
        };
        line(f, "covered", covered)?;
        line(f, "upstream", &self.upstream)?;
        if let Some((key, source)) = &self.key {
            line(f, "key", key.as_str())?;
            line(f, "key from", source)?;
        }
        let caller = match &self.end {
            End::Keyed { caller, .. } => *caller,
            End::Passes(_) | End::Refused(_) => None,
        };
        for (index, (name, value)) in self.scope.iter().enumerate() {
            let title = if index == 0 { "scope" } else { "" };
            let value = scope_value(name, value.as_deref(), caller, &self.secret);
            line(f, title, format_args!("{name:<12} {value}"))?;
        }
        // What is observed is passed on, and counted as what it would be.
        let comes_to = match policy.mode {
            Mode::Observe => "would be",
            Mode::Enforce | Mode::Off => "comes to",
        };
        match &self.end {
            End::Passes(why) => line(f, "comes to", format_args!("passed on as it is: {why}")),
            End::Refused(problem) => {
                let (status, code) = (problem.code.status().as_u16(), problem.code.kebab());
                if let Some(id) = &problem.id {
                    line(f, "record id", id)?;
                }
                line(
                    f,
                    comes_to,
                    format_args!("{status} {code}: {}", problem.detail),
                )
            }
            End::Keyed {
                id,
                fingerprint,
                body,
                ..
            } => {
                for (index, part) in fingerprint.parts().enumerate() {
                    let title = if index == 0 { "fingerprint" } else { "" };
                    line(
                        f,
                        title,
                        format_args!("{:<12} {}", part.name, hex(&part.digest)),
                    )?;
                }
                line(f, "body", reading(body, policy))?;
                line(
                    f,
                    comes_to,
                    "a claim of this record, or the answer that it has",
                )?;
                line(f, "record id", id)
            }
        }
    }
}

/// What people may see of a part: of credentials a digest, at which nobody without the secret can try guesses.
fn scope_value(
    name: &str,
    value: Option<&[u8]>,
    caller: Option<TakenFrom>,
    secret: &Secret,
) -> String {
    let Some(value) = value else {
        // There is no connection whose address it could be.
        let unknown = "(not known here, so the record id of a request that comes is another)";
        let absent = if name == "client-ip" {
            unknown
        } else {
            "(absent)"
        };
        return absent.to_owned();
    };
    let under_secret = |digest: Digest| hex(&secret.part(digest));
    // These are digests already.
    let shown = || {
        value
            .try_into()
            .map_or_else(|_| String::new(), under_secret)
    };
    if name == "caller" {
        let taken_from = match caller {
            Some(TakenFrom::Nothing) => "nobody, without an Authorization header",
            Some(TakenFrom::Jwt) => "digest of iss and sub of a bearer JWT",
            Some(TakenFrom::Basic) => "digest of the user name of Basic credentials",
            Some(TakenFrom::Whole) => "digest of all of the Authorization header",
            None => "",
        };
        return format!("{} ({taken_from})", shown());
    }
    if name.starts_with("jwt:") {
        return format!("{} (digest)", shown());
    }
    let hidden = name == "query" || name.starts_with("cookie:") || name.starts_with("header:");
    match std::str::from_utf8(value) {
        Ok(text) if !hidden && !text.contains(char::is_control) => text.to_owned(),
        _ => {
            let mut digest = crate::idempotency::digest::Hasher::new("shown");
            digest.part(value);
            format!("{} (digest)", under_secret(digest.finish()))
        }
    }
}

fn reading(body: &Reading, policy: &Policy) -> String {
    let size = ByteSize(body.size);
    let limit = format!(
        "max_buffered_request, {}",
        ByteSize(policy.max_buffered_request)
    );
    match (body.streamed, body.may_stream) {
        (true, _) if body.size > policy.max_buffered_request => {
            format!("{size}, streamed: over {limit}; the fingerprint is known once it has gone by")
        }
        (true, _) => format!("{size}, streamed: nothing of it is needed before"),
        (false, true) => format!("{size}, held in memory; one over {limit}, is streamed"),
        (false, false) => format!("{size}, held in memory; one over {limit}, is refused"),
    }
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{name:<13} {value}")
}

/// Nobody waits for the body: it is all there.
const UNHURRIED: Duration = Duration::from_secs(3_600);
