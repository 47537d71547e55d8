//! `[jwt]`: whether a bearer token is what its issuer made it (RFC 7519).
//!
//! The keys say which algorithms they are for, never the token: of a set of public keys none verifies an HMAC, and there is no
//! algorithm `none`. Tokens and keys are read by jsonwebtoken, signatures checked by ring (`signature`).

mod keys;
mod signature;
#[cfg(test)]
mod tests;

use std::fmt::{self, Debug, Formatter};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{DecodingKey, DecodingKeyKind, Header, decode_header};
use serde_json::{Map, Value};

use crate::idempotency::bearer_token;
use crate::idempotency::digest::{Digest, Hasher};

pub use jsonwebtoken::Algorithm;
pub use keys::BadKeys;

/// Verifies bearer tokens. Debug shows no key.
#[derive(Clone)]
pub struct TokenVerifier {
    rules: TokenRules,
    keys: Keys,
    /// Of the file that the keys were read from.
    source: Digest,
}

/// What a token has to be, besides being signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// By what it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// What its `iss` has to be.
    pub issuer: Option<String>,
    /// What its `aud` has to be, or to have among others.
    pub audience: Option<String>,
    /// How far `exp` may lie behind, and `nbf` ahead. A token without them has no such bounds.
    pub leeway: Duration,
}

#[derive(Clone)]
enum Keys {
    /// Public ones, each with the id that a token names it by.
    Set(Vec<(Option<String>, VerifyingKey)>),
    /// The one secret, whatever id a token names.
    Secret(Box<VerifyingKey>),
}

/// What a token that its issuer signed says, and whether it holds now.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) claims: Map<String, Value>,
    /// Whether the time is between its `nbf` and its `exp`, as far as it has them.
    pub(super) is_timely: bool,
}

/// A key, and by which algorithms it verifies.
#[derive(Clone)]
struct VerifyingKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl TokenVerifier {
    /// Of the public keys of a JSON Web Key Set (RFC 7517). Those that are not for signatures, or for none of the algorithms, are
    /// left out.
    ///
    /// # Errors
    ///
    /// It is no such set, or none is left.
    pub fn of_key_set(file: &[u8], rules: TokenRules) -> Result<Self, BadKeys> {
        let keys = Keys::Set(keys::public(file, &rules)?);
        Ok(Self::new(keys, file, rules))
    }

    /// Of a secret that the issuer signs with too; a line break at its end is none of it.
    ///
    /// # Errors
    ///
    /// It is empty or everybody knows it, being a public key; or an algorithm is none for secrets.
    pub fn of_secret(file: &[u8], rules: TokenRules) -> Result<Self, BadKeys> {
        let keys = Keys::Secret(Box::new(keys::secret(file, &rules)?));
        Ok(Self::new(keys, file, rules))
    }

    fn new(keys: Keys, file: &[u8], rules: TokenRules) -> Self {
        let mut source = Hasher::new("token keys");
        source.part(file);
        Self {
            rules,
            keys,
            source: source.finish(),
        }
    }

    /// What a token has to be.
    pub fn rules(&self) -> &TokenRules {
        &self.rules
    }

    /// Whether the secret, if it is one, has fewer bytes than the hash of one of its algorithms (RFC 7518, section 3.2).
    pub fn has_short_secret(&self) -> bool {
        let Keys::Secret(secret) = &self.keys else {
            return false;
        };
        let DecodingKeyKind::SecretOrDer(bytes) = secret.key.kind() else {
            return false;
        };
        self.rules.algorithms.iter().any(|algorithm| {
            let hash = match algorithm {
                Algorithm::HS512 => 64,
                Algorithm::HS384 => 48,
                _ => 32,
            };
            bytes.len() < hash
        })
    }

    /// The bearer token in an `Authorization` value, if its signature, `iss` and `aud` are right. When it is asked changes only whether
    /// it is timely: the scope that its claims are part of stays the same.
    pub(super) fn signed(&self, authorization: &[u8]) -> Option<Signed> {
        let token = bearer_token(authorization)?;
        let header = decode_header(token).ok()?;
        // What we do not know must be understood (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return None;
        }
        let dot = token.iter().rposition(|byte| *byte == b'.')?;
        let (message, made) = (&token[..dot], &token[dot + 1..]);
        let made = BASE64_URL_SAFE_NO_PAD.decode(made).ok()?;
        let mut keys = self.keys.fitting(&header).take(TRIED_MAX);
        keys.find(|VerifyingKey { key, .. }| signature::verifies(key, header.alg, message, &made))?;
        let claims: Map<String, Value> = insecure_decode_claims(token).ok()?;
        if !self.is_meant(&claims) {
            return None;
        }
        let is_timely = self.is_timely(&claims);
        Some(Signed { claims, is_timely })
    }

    /// Whether it is by the issuer, and for the audience, if there have to be such.
    fn is_meant(&self, claims: &Map<String, Value>) -> bool {
        let TokenRules {
            issuer, audience, ..
        } = &self.rules;
        let by = |issuer: &String| claims.get("iss").is_some_and(|iss| iss == issuer);
        let to = |audience: &String| match claims.get("aud") {
            Some(Value::Array(many)) => many.iter().any(|aud| aud == audience),
            one => one.is_some_and(|aud| aud == audience),
        };
        issuer.as_ref().is_none_or(by) && audience.as_ref().is_none_or(to)
    }

    fn is_timely(&self, claims: &Map<String, Value>) -> bool {
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
            return false;
        };
        let (now, leeway) = (now.as_secs_f64(), self.rules.leeway.as_secs_f64());
        // A time that is none bounds nothing that could be kept to.
        let holds = |name: &str, holds: &dyn Fn(f64) -> bool| {
            let time = claims.get(name);
            time.is_none_or(|time| time.as_f64().is_some_and(holds))
        };
        holds("exp", &|exp| now <= exp + leeway) && holds("nbf", &|nbf| nbf <= now + leeway)
    }
}

impl Keys {
    /// Those that a token may mean: of the id that it names, if it names one, and for its algorithm. Ids need not be unique
    /// (RFC 7517, section 4.5).
    fn fitting(&self, header: &Header) -> impl Iterator<Item = &VerifyingKey> {
        let (set, secret) = match self {
            Keys::Set(keys) => (keys.as_slice(), None),
            Keys::Secret(key) => (&[][..], Some(key.as_ref())),
        };
        let named = set
            .iter()
            .filter(|(id, _)| header.kid.is_none() || *id == header.kid)
            .map(|(_, key)| key);
        named
            .chain(secret)
            .filter(|key| key.algorithms.contains(&header.alg))
    }
}

impl PartialEq for TokenVerifier {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules && self.source == other.source
    }
}

impl Debug for TokenVerifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// So many keys are tried for one token.
const TRIED_MAX: usize = 16;
