//! An issuer of tokens for tests. Its keys are good for nothing else: one is public, in `keys/`.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use serde_json::{Value, json};

/// Signs tokens with keys of every kind; each key's id is what it is.
pub struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

impl Issuer {
    /// With the RSA key for tests, and new keys of the other kinds.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8: String = include_str!("keys/rsa-for-tests.pk8.b64")
            .split_whitespace()
            .collect();
        let ecdsa = |algorithm| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(pkcs8).unwrap()).unwrap(),
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            random,
        }
    }

    /// The public key of an id: `rsa`, `p256`, `p384` or `ed25519`.
    pub fn key(&self, id: &str) -> Value {
        let point = |curve: &str, key: &EcdsaKeyPair| {
            let (x, y) =
                key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": curve, "kid": id, "x": text(x), "y": text(y)})
        };
        match id {
            "rsa" => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                json!({"kty": "RSA", "use": "sig", "kid": id, "n": text(&n), "e": text(&e)})
            }
            "p256" => point("P-256", &self.p256),
            "p384" => point("P-384", &self.p384),
            "ed25519" => {
                let x = text(self.ed25519.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
            }
            other => panic!("no key {other}"),
        }
    }

    /// The file with the keys of these ids.
    pub fn key_set(&self, ids: &[&str]) -> String {
        let keys: Vec<Value> = ids.iter().map(|id| self.key(id)).collect();
        json!({ "keys": keys }).to_string()
    }

    /// A token signed as `algorithm` says, that names this key.
    pub fn token(&self, algorithm: &str, id: Option<&str>, claims: &Value) -> String {
        let mut head = json!({"alg": algorithm, "typ": "JWT"});
        if let Some(id) = id {
            head["kid"] = id.into();
        }
        signed(&head, claims, |message| self.sign(algorithm, message))
    }

    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let rsa = |encoding: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa
                .sign(encoding, &self.random, message, &mut signature)
                .unwrap();
            signature
        };
        match algorithm {
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => self
                .p256
                .sign(&self.random, message)
                .unwrap()
                .as_ref()
                .to_vec(),
            "ES384" => self
                .p384
                .sign(&self.random, message)
                .unwrap()
                .as_ref()
                .to_vec(),
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            other => panic!("no algorithm {other}"),
        }
    }
}

/// A token whose signature is the HMAC of a secret, whatever `head` says.
pub fn by_secret(head: &Value, claims: &Value, kind: hmac::Algorithm, secret: &[u8]) -> String {
    let key = hmac::Key::new(kind, secret);
    signed(head, claims, |message| {
        hmac::sign(&key, message).as_ref().to_vec()
    })
}

/// A token of these parts.
pub fn signed(head: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        text(head.to_string().as_bytes()),
        text(claims.to_string().as_bytes())
    );
    let signature = sign(message.as_bytes());
    format!("{message}.{}", text(&signature))
}

/// Seconds of the epoch, so far from now.
pub fn at(offset: i64) -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_secs()).unwrap() + offset
}

fn text(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
