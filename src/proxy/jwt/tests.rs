#![allow(clippy::unwrap_used)]

#[path = "../../../tests/support/tokens.rs"]
#[allow(missing_docs, unreachable_pub)]
mod tokens;

use std::time::Duration;

use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use tokens::{Issuer, at, by_secret, signed};

const ALL: [&str; 4] = ["rsa", "p256", "p384", "ed25519"];
const PUBLIC: [(&str, &str); 9] = [
    ("RS256", "rsa"),
    ("RS384", "rsa"),
    ("RS512", "rsa"),
    ("PS256", "rsa"),
    ("PS384", "rsa"),
    ("PS512", "rsa"),
    ("ES256", "p256"),
    ("ES384", "p384"),
    ("EdDSA", "ed25519"),
];
const SECRET: &[u8] = b"a secret of thirty-two bytes, or so";

fn rules(algorithms: &[&str]) -> TokenRules {
    TokenRules {
        algorithms: algorithms
            .iter()
            .map(|name| name.parse().unwrap())
            .collect(),
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(60),
    }
}

fn every() -> TokenRules {
    rules(&PUBLIC.map(|(algorithm, _)| algorithm))
}

fn of_secret() -> TokenVerifier {
    TokenVerifier::of_secret(SECRET, rules(&["HS256", "HS384", "HS512"])).unwrap()
}

fn of_set(set: &str, rules: TokenRules) -> TokenVerifier {
    TokenVerifier::of_key_set(set.as_bytes(), rules).unwrap()
}

fn claims(verifier: &TokenVerifier, token: &str) -> Option<Value> {
    let signed = verifier.signed(format!("Bearer {token}").as_bytes());
    let timely = signed.filter(|signed| signed.is_timely);
    timely.map(|signed| Value::Object(signed.claims))
}

fn ann() -> Value {
    json!({"iss": "me", "sub": "ann", "exp": 4_102_444_800_u64})
}

#[test]
fn a_token_verifies_by_the_key_and_the_algorithm_that_it_names() {
    let issuer = Issuer::new();
    let verifier = of_set(&issuer.key_set(&ALL), every());
    for (algorithm, id) in PUBLIC {
        let token = issuer.token(algorithm, Some(id), &ann());
        assert_eq!(claims(&verifier, &token), Some(ann()), "{algorithm}");
        for other in ALL.iter().filter(|other| **other != id) {
            let token = issuer.token(algorithm, Some(other), &ann());
            assert_eq!(claims(&verifier, &token), None, "{algorithm} by {other}");
        }
        let unknown = issuer.token(algorithm, Some("of-next-month"), &ann());
        assert_eq!(claims(&verifier, &unknown), None);
    }
    let strangers = Issuer::new();
    let token = strangers.token("ES256", Some("p256"), &ann());
    assert_eq!(claims(&verifier, &token), None);
}

#[test]
fn a_token_by_the_secret_verifies_whatever_key_it_names() {
    for (name, kind) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ] {
        for head in [json!({"alg": name}), json!({"alg": name, "kid": "any"})] {
            let token = by_secret(&head, &ann(), kind, SECRET);
            assert_eq!(claims(&of_secret(), &token), Some(ann()));
            let token = by_secret(&head, &ann(), kind, b"guessed");
            assert_eq!(claims(&of_secret(), &token), None);
        }
    }
}

#[test]
fn a_line_break_after_the_secret_is_none_of_it() {
    let token = by_secret(&json!({"alg": "HS256"}), &ann(), hmac::HMAC_SHA256, SECRET);
    for end in ["", "\n", "\r\n"] {
        let file = [SECRET, end.as_bytes()].concat();
        let verifier = TokenVerifier::of_secret(&file, rules(&["HS256"])).unwrap();
        assert!(claims(&verifier, &token).is_some());
    }
}

#[test]
fn what_is_not_signed_is_not_verified() {
    let issuer = Issuer::new();
    let public = of_set(&issuer.key_set(&["rsa"]), rules(&["RS256"]));
    for verifier in [&public, &of_secret()] {
        for name in ["none", "None", "NONE", "", "RS256", "HS256"] {
            for kid in [json!("rsa"), Value::Null] {
                let head = json!({"alg": name, "kid": kid});
                assert_eq!(
                    claims(verifier, &signed(&head, &ann(), |_| Vec::new())),
                    None
                );
            }
        }
        let token = issuer.token("RS256", Some("rsa"), &ann());
        let (message, _) = token.rsplit_once('.').unwrap();
        for cut in [
            message.to_owned(),
            format!("{message}."),
            token[1..].to_owned(),
        ] {
            assert_eq!(claims(verifier, &cut), None);
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let issuer = Issuer::new();
    let set = issuer.key_set(&["rsa"]);
    let verifier = of_set(&set, every());
    let modulus = issuer.key("rsa")["n"].as_str().unwrap().to_owned();
    for secret in [
        set.as_bytes(),
        issuer.key("rsa").to_string().as_bytes(),
        modulus.as_bytes(),
    ] {
        for head in [
            json!({"alg": "HS256", "kid": "rsa"}),
            json!({"alg": "HS256"}),
        ] {
            let forged = by_secret(&head, &ann(), hmac::HMAC_SHA256, secret);
            assert_eq!(claims(&verifier, &forged), None);
            let lying = json!({"alg": "RS256", "kid": "rsa"});
            let forged = by_secret(&lying, &ann(), hmac::HMAC_SHA256, secret);
            assert_eq!(claims(&verifier, &forged), None);
        }
        assert_eq!(
            TokenVerifier::of_key_set(set.as_bytes(), rules(&["RS256", "HS256"])),
            Err(BadKeys::Algorithm(Algorithm::HS256))
        );
    }
    let pem = b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n";
    for public in [pem.as_slice(), set.as_bytes()] {
        let secret = TokenVerifier::of_secret(public, rules(&["HS256"]));
        assert_eq!(secret, Err(BadKeys::NoSecret));
    }
}

#[test]
fn of_an_algorithm_that_was_not_configured_nothing_verifies() {
    let issuer = Issuer::new();
    let verifier = of_set(&issuer.key_set(&ALL), rules(&["RS256", "ES256"]));
    for (algorithm, id) in PUBLIC {
        let verifies = claims(&verifier, &issuer.token(algorithm, Some(id), &ann())).is_some();
        assert_eq!(
            verifies,
            ["RS256", "ES256"].contains(&algorithm),
            "{algorithm}"
        );
    }
    let mut bound = issuer.key("rsa");
    bound["alg"] = "PS256".into();
    let set = json!({"keys": [bound]}).to_string();
    let verifier = of_set(&set, rules(&["RS256", "PS256"]));
    assert!(claims(&verifier, &issuer.token("PS256", Some("rsa"), &ann())).is_some());
    assert!(claims(&verifier, &issuer.token("RS256", Some("rsa"), &ann())).is_none());
}

#[test]
fn every_key_that_a_token_may_mean_is_tried() {
    let issuer = Issuer::new();
    let verifies = |keys: &[Value], id: Option<&str>| {
        let verifier = of_set(&json!({ "keys": keys }).to_string(), every());
        claims(&verifier, &issuer.token("ES256", id, &ann())).is_some()
    };
    let all = ALL.map(|id| issuer.key(id));
    assert!(verifies(&all, None));
    let own = issuer.key("p256");
    let strangers = Issuer::new().key("p256");
    for keys in [
        [own.clone(), strangers.clone()],
        [strangers.clone(), own.clone()],
    ] {
        assert!(verifies(&keys, None));
        assert!(verifies(&keys, Some("p256")));
        assert!(!verifies(&keys, Some("other")));
    }
    let mut nameless = own.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    assert!(verifies(std::slice::from_ref(&nameless), None));
    assert!(!verifies(&[nameless], Some("p256")));
    let mut many = vec![strangers; TRIED_MAX - 1];
    many.push(own);
    assert!(verifies(&many, None));
    many.insert(0, many[0].clone());
    assert!(!verifies(&many, None));
}

#[test]
fn times_hold_within_the_leeway() {
    let issuer = Issuer::new();
    let verifier = of_set(&issuer.key_set(&["p256"]), every());
    let verifies =
        |times: Value| claims(&verifier, &issuer.token("ES256", Some("p256"), &times)).is_some();
    for good in [
        json!({}),
        json!({"exp": at(600)}),
        json!({"exp": at(-30)}),
        json!({"nbf": at(30)}),
        json!({"exp": at(600) as f64 + 0.5, "nbf": at(-600)}),
    ] {
        assert!(verifies(good.clone()), "{good}");
    }
    for bad in [
        json!({"exp": at(-90)}),
        json!({"nbf": at(90)}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": null}),
        json!({"exp": at(600).to_string()}),
        json!({"nbf": "tomorrow"}),
        json!({"exp": [at(600)]}),
    ] {
        assert!(!verifies(bad.clone()), "{bad}");
    }
    for untimely in [json!({"exp": at(-90)}), json!({"nbf": at(90)})] {
        let token = issuer.token("ES256", Some("p256"), &untimely);
        let signed = verifier.signed(format!("Bearer {token}").as_bytes());
        assert_eq!(Value::Object(signed.unwrap().claims), untimely);
    }
}

#[test]
fn issuer_and_audience_have_to_be_there_and_right() {
    let issuer = Issuer::new();
    let rules = TokenRules {
        issuer: Some("me".to_owned()),
        audience: Some("orders".to_owned()),
        ..every()
    };
    let verifier = of_set(&issuer.key_set(&["p256"]), rules);
    let verifies =
        |of: Value| claims(&verifier, &issuer.token("ES256", Some("p256"), &of)).is_some();
    assert!(verifies(json!({"iss": "me", "aud": "orders"})));
    assert!(verifies(json!({"iss": "me", "aud": ["billing", "orders"]})));
    for bad in [
        json!({}),
        json!({"iss": "me"}),
        json!({"aud": "orders"}),
        json!({"iss": "you", "aud": "orders"}),
        json!({"iss": "me", "aud": "billing"}),
        json!({"iss": "me", "aud": []}),
        json!({"iss": 1, "aud": "orders"}),
        json!({"iss": "me", "aud": {"orders": 1}}),
    ] {
        assert!(!verifies(bad.clone()), "{bad}");
    }
}

#[test]
fn what_must_be_understood_and_is_not_makes_a_token_invalid() {
    let issuer = Issuer::new();
    let verifier = of_set(&issuer.key_set(&["p256"]), every());
    let head = json!({"alg": "ES256", "kid": "p256", "crit": ["b64"], "b64": false});
    let token = signed(&head, &ann(), |message| issuer.sign("ES256", message));
    assert_eq!(claims(&verifier, &token), None);
}

#[test]
fn only_bearer_tokens_are_tokens() {
    let token = by_secret(&json!({"alg": "HS256"}), &ann(), hmac::HMAC_SHA256, SECRET);
    let verifies = |value: &str| of_secret().signed(value.as_bytes()).is_some();
    assert!(verifies(&format!("Bearer {token}")));
    assert!(verifies(&format!("bearer  {token} ")));
    for other in [
        token.clone(),
        format!("Basic {token}"),
        format!("Bearer{token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}.x"),
        "Bearer ".to_owned(),
    ] {
        assert!(!verifies(&other), "{other}");
    }
}

#[test]
fn keys_that_are_of_no_use_are_left_out_and_a_set_of_those_alone_is_refused() {
    let issuer = Issuer::new();
    let with = |id: &str, name: &str, value: Value| {
        let mut key = issuer.key(id);
        key[name] = value;
        key
    };
    let useless = [
        json!({"kty": "oct", "kid": "rsa", "k": "c2VjcmV0"}),
        json!({"kty": "other"}),
        json!(7),
        with("rsa", "use", json!("enc")),
        with("rsa", "alg", json!("RSA-OAEP")),
        with("rsa", "key_ops", json!(["encrypt"])),
        with("rsa", "n", json!("AQAB")),
        with("rsa", "n", json!("%%%")),
        with("p256", "crv", json!("secp256k1")),
        with("p256", "x", json!("AQAB")),
        with("ed25519", "x", json!("AQAB")),
    ];
    let alone = json!({ "keys": useless }).to_string();
    assert_eq!(
        TokenVerifier::of_key_set(alone.as_bytes(), every()),
        Err(BadKeys::NoKey)
    );
    let mut keys = useless.to_vec();
    keys.push(issuer.key("p384"));
    let verifier = of_set(&json!({ "keys": keys }).to_string(), every());
    assert!(claims(&verifier, &issuer.token("ES384", Some("p384"), &ann())).is_some());

    let bad = |file: &str| TokenVerifier::of_key_set(file.as_bytes(), every()).unwrap_err();
    assert_eq!(bad(" \n"), BadKeys::Empty);
    assert_eq!(bad("[]"), BadKeys::NoKeySet);
    assert_eq!(bad("-----BEGIN PUBLIC KEY-----"), BadKeys::NoKeySet);
    assert_eq!(bad(r#"{"keys":[]}"#), BadKeys::NoKey);
    let set = issuer.key_set(&["rsa"]);
    let unfit = TokenVerifier::of_key_set(set.as_bytes(), rules(&["ES256"]));
    assert_eq!(unfit, Err(BadKeys::NoKey));
    for empty in ["", "\n", "\r\n"] {
        let secret = TokenVerifier::of_secret(empty.as_bytes(), rules(&["HS256"]));
        assert_eq!(secret, Err(BadKeys::Empty));
    }
    let public = TokenVerifier::of_secret(SECRET, rules(&["HS256", "RS256"]));
    assert_eq!(public, Err(BadKeys::Algorithm(Algorithm::RS256)));
}

#[test]
fn leading_zeros_of_a_modulus_change_nothing() {
    let issuer = Issuer::new();
    let mut key = issuer.key("rsa");
    // The modulus has 256 bytes: 1 more makes its text begin anew at a byte.
    let n = key["n"].as_str().unwrap();
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, n).unwrap();
    let padded = [&[0], bytes.as_slice()].concat();
    key["n"] = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, padded).into();
    let verifier = of_set(&json!({"keys": [key]}).to_string(), every());
    assert!(claims(&verifier, &issuer.token("RS256", Some("rsa"), &ann())).is_some());
}

#[test]
fn nothing_shows_a_key() {
    let shown = format!("{:?}", of_secret());
    assert!(
        !shown.contains("secret") && !shown.contains("key"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn any_value_is_read_without_harm(value: Vec<u8>, token in "[A-Za-z0-9_.-]{0,80}") {
        let verifier = of_secret();
        verifier.signed(&value);
        let value = format!("Bearer {token}");
        prop_assert!(verifier.signed(value.as_bytes()).is_none());
    }
}
