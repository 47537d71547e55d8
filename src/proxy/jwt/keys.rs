//! The keys that tokens are verified by, from their files.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{TokenRules, VerifyingKey};

/// Why keys cannot be used; nothing of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// It has nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is not what it should be.
    #[error("the file is no JSON Web Key Set, {{\"keys\": [...]}}")]
    NoKeySet,
    /// None of them verifies any of the algorithms.
    #[error("the file has no public key for any of the algorithms")]
    NoKey,
    /// Whoever reads it could sign.
    #[error("the file is a public key or certificate and no secret; public keys go into `keys`")]
    NoSecret,
    /// A public key would be taken for a secret, or a secret for a public key.
    #[error("{0:?} does not fit the kind of key")]
    Algorithm(Algorithm),
}

/// The keys of a set that verify one of the algorithms.
pub(super) fn public(
    file: &[u8],
    rules: &TokenRules,
) -> Result<Vec<(Option<String>, VerifyingKey)>, BadKeys> {
    check_families(rules, |family| family != AlgorithmFamily::Hmac)?;
    if file.trim_ascii().is_empty() {
        return Err(BadKeys::Empty);
    }
    let set: KeySet = serde_json::from_slice(file).map_err(|_| BadKeys::NoKeySet)?;
    // What is not understood is left out (RFC 7517, section 5).
    let keys: Vec<_> = set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
        .filter_map(|jwk| verifying(jwk, rules))
        .collect();
    match keys.as_slice() {
        [] => Err(BadKeys::NoKey),
        _ => Ok(keys),
    }
}

/// The secret of a file.
pub(super) fn secret(file: &[u8], rules: &TokenRules) -> Result<VerifyingKey, BadKeys> {
    check_families(rules, |family| family == AlgorithmFamily::Hmac)?;
    let line = file.strip_suffix(b"\n").unwrap_or(file);
    let secret = line.strip_suffix(b"\r").unwrap_or(line);
    if secret.trim_ascii().is_empty() {
        return Err(BadKeys::Empty);
    }
    if is_public(secret) {
        return Err(BadKeys::NoSecret);
    }
    Ok(VerifyingKey {
        key: DecodingKey::from_secret(secret),
        algorithms: rules.algorithms.clone(),
    })
}

/// Whether it has the form of a key or certificate: PEM, JWK, JWKS, OpenSSH or DER.
fn is_public(secret: &[u8]) -> bool {
    let text = secret.strip_prefix(BYTE_ORDER_MARK).unwrap_or(secret);
    let text = text.trim_ascii_start();
    let object = serde_json::from_slice::<Map<String, Value>>(text).unwrap_or_default();
    text.windows(PEM.len()).any(|part| part == PEM)
        || ["kty", "keys"]
            .iter()
            .any(|name| object.contains_key(*name))
        || text.starts_with(b"ssh-")
        || secret.starts_with(DER)
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

fn check_families(
    rules: &TokenRules,
    fits: impl Fn(AlgorithmFamily) -> bool,
) -> Result<(), BadKeys> {
    match rules
        .algorithms
        .iter()
        .find(|algorithm| !fits(algorithm.family()))
    {
        Some(other) => Err(BadKeys::Algorithm(*other)),
        None => Ok(()),
    }
}

/// A key with its id, if it verifies one of the algorithms.
fn verifying(jwk: Jwk, rules: &TokenRules) -> Option<(Option<String>, VerifyingKey)> {
    let of_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let operations = jwk.common.key_operations.as_ref();
    let verifies = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let fits = |algorithm: &Algorithm| {
        let named = jwk.common.key_algorithm;
        named.is_none_or(|named| named == KeyAlgorithm::from(*algorithm))
            && fits(&jwk, &key, *algorithm)
    };
    let algorithms: Vec<Algorithm> = rules.algorithms.iter().copied().filter(fits).collect();
    (of_signatures && verifies && !algorithms.is_empty())
        .then(|| (jwk.common.key_id, VerifyingKey { key, algorithms }))
}

/// Whether a key is of the kind and size that the algorithm takes.
fn fits(jwk: &Jwk, key: &DecodingKey, algorithm: Algorithm) -> bool {
    let curve = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) => Some(&key.curve),
        AlgorithmParameters::OctetKeyPair(key) => Some(&key.curve),
        _ => None,
    };
    let is = |expected, length| match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => curve == Some(expected) && bytes.len() == length,
        DecodingKeyKind::RsaModulusExponent { .. } => false,
    };
    match algorithm {
        // An uncompressed point: a byte, and two coordinates.
        Algorithm::ES256 => is(&EllipticCurve::P256, 65),
        Algorithm::ES384 => is(&EllipticCurve::P384, 97),
        Algorithm::EdDSA => is(&EllipticCurve::Ed25519, 32),
        other if other.family() == AlgorithmFamily::Rsa => match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => {
                let zeros = n.iter().take_while(|byte| **byte == 0).count();
                (RSA_MIN..=RSA_MAX).contains(&(n.len() - zeros))
            }
            DecodingKeyKind::SecretOrDer(_) => false,
        },
        _ => false,
    }
}

/// Bytes of a modulus: 2048 bits (RFC 7518, section 3.3) to what ring takes, 8192.
const RSA_MIN: usize = 256;
const RSA_MAX: usize = 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const PEM: &[u8] = b"-----BEGIN";
/// A sequence whose length has two bytes.
const DER: &[u8] = &[0x30, 0x82];
