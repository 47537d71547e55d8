//! Signatures of tokens, checked by ring; without jsonwebtoken's provider, which is one for the whole process.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::{hmac, signature};

/// Whether `made` is what the key's owner made of `message` by this algorithm. A key of another family verifies nothing: a public
/// key is no secret for HMAC, though anybody could sign with it as one.
pub(super) fn verifies(
    key: &DecodingKey,
    algorithm: Algorithm,
    message: &[u8],
    made: &[u8],
) -> bool {
    if key.family() != algorithm.family() {
        return false;
    }
    let verified = match (key.kind(), algorithm.family()) {
        (DecodingKeyKind::SecretOrDer(secret), AlgorithmFamily::Hmac) => {
            let key = hmac::Key::new(hmac_of(algorithm), secret);
            hmac::verify(&key, message, made)
        }
        (DecodingKeyKind::SecretOrDer(point), AlgorithmFamily::Ec | AlgorithmFamily::Ed) => {
            let algorithm: &dyn signature::VerificationAlgorithm = match algorithm {
                Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
                Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
                _ => &signature::ED25519,
            };
            signature::UnparsedPublicKey::new(algorithm, point).verify(message, made)
        }
        (DecodingKeyKind::RsaModulusExponent { n, e }, AlgorithmFamily::Rsa) => {
            // ring takes no leading zeros, which some issuers write.
            let start = n.iter().take_while(|byte| **byte == 0).count();
            let key = signature::RsaPublicKeyComponents { n: &n[start..], e };
            key.verify(rsa_of(algorithm), message, made)
        }
        _ => return false,
    };
    verified.is_ok()
}

fn hmac_of(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

fn rsa_of(algorithm: Algorithm) -> &'static signature::RsaParameters {
    match algorithm {
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}
