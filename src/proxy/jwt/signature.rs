//! Signatures of tokens, checked by ring.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::{hmac, signature as ring_signature};

/// Makes ring what tokens of this process are verified by. Whoever embeds this and installed another before keeps it.
pub(super) fn install() {
    let _ = RING.install_default();
}

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory,
    key_utils: KeyUtils::new_unimplemented(),
};

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // A public key is no secret for HMAC, though anybody could sign with it as one.
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Ring {
        algorithm: *algorithm,
        key: key.clone(),
    }))
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.key.kind(), self.algorithm.family()) {
            (DecodingKeyKind::SecretOrDer(secret), AlgorithmFamily::Hmac) => {
                let key = hmac::Key::new(hmac_of(self.algorithm), secret);
                hmac::verify(&key, message, signature)
            }
            (DecodingKeyKind::SecretOrDer(point), AlgorithmFamily::Ec | AlgorithmFamily::Ed) => {
                let algorithm: &dyn ring_signature::VerificationAlgorithm = match self.algorithm {
                    Algorithm::ES256 => &ring_signature::ECDSA_P256_SHA256_FIXED,
                    Algorithm::ES384 => &ring_signature::ECDSA_P384_SHA384_FIXED,
                    _ => &ring_signature::ED25519,
                };
                ring_signature::UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
            (DecodingKeyKind::RsaModulusExponent { n, e }, AlgorithmFamily::Rsa) => {
                // ring takes no leading zeros, which some issuers write.
                let start = n.iter().take_while(|byte| **byte == 0).count();
                let key = ring_signature::RsaPublicKeyComponents { n: &n[start..], e };
                key.verify(rsa_of(self.algorithm), message, signature)
            }
            _ => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

fn hmac_of(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

fn rsa_of(algorithm: Algorithm) -> &'static ring_signature::RsaParameters {
    match algorithm {
        Algorithm::RS384 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &ring_signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &ring_signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &ring_signature::RSA_PSS_2048_8192_SHA512,
        _ => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
    }
}
