//! Within what a key is unique, and what a token shows that verifies.

use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::STORE;
use crate::support::*;
use crate::tokens::{Issuer, at, by_secret, signed};
use crate::world::*;

/// A proxy that verifies the tokens of an issuer.
struct Verifying {
    world: World,
    issuer: Issuer,
    _directory: TempDir,
}

impl Verifying {
    async fn policy(policy: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("jwks.json");
        let issuer = Issuer::new();
        std::fs::write(&file, issuer.key_set(&["rsa", "p256"])).unwrap();
        let config = format!(
            "[jwt]\nkeys = {:?}\nissuer = \"me\"\naudience = \"orders\"\n[policy]\n{policy}",
            file.display().to_string()
        );
        Self {
            world: World::config(STORE, &config).await,
            issuer,
            _directory: directory,
        }
    }

    async fn send(&self, authorization: &str) -> Answer {
        self.world.send(&under(authorization)).await
    }

    fn token(&self, claims: &Value) -> String {
        bearer(&self.issuer, claims)
    }
}

fn under(authorization: &str) -> Request {
    post("/orders", "k", "a").field("Authorization", authorization)
}

/// An `Authorization` value, signed by the RSA key.
fn bearer(issuer: &Issuer, claims: &Value) -> String {
    format!("Bearer {}", issuer.token("RS256", Some("rsa"), claims))
}

/// The claims of a subject, in a token of its own.
fn of(sub: &str, serial: u32, more: Value) -> Value {
    let mut claims = json!({
        "iss": "me", "aud": "orders", "sub": sub, "jti": serial, "exp": at(600),
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn none() -> Value {
    json!({})
}

/// Waits until one request of the route was counted like this.
async fn observed(proxy: &Verifying, outcome: &str) {
    let line = format!("idemproxy_requests_total{{route=\"default\",outcome=\"{outcome}\"}}");
    eventually(|| proxy.world.proxy.metric(&line) == 1.0).await;
}

/// Tokens that claim to be Ann's, and that no issuer made.
fn forgeries(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let claims = of("ann", 666, none());
    let strangers = Issuer::new();
    let rs256 = json!({"alg": "RS256", "kid": "rsa"});
    let hs256 = json!({"alg": "HS256", "kid": "rsa"});
    let by = |head: &Value, secret: &str| {
        by_secret(head, &claims, hmac::HMAC_SHA256, secret.as_bytes())
    };
    let expired = of("ann", 5, json!({"exp": at(-90)}));
    let stale = issuer.token("RS256", Some("rsa"), &expired);
    let (head, rest) = stale.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let fresh = signed(&rs256, &claims, |_| Vec::new());
    let fresh = fresh.split('.').nth(1).unwrap();
    [
        ("no signature", signed(&rs256, &claims, |_| Vec::new())),
        ("made up", signed(&rs256, &claims, |_| b"forged".to_vec())),
        (
            "alg none",
            signed(&json!({"alg": "none"}), &claims, |_| Vec::new()),
        ),
        (
            "alg none of a key",
            signed(&json!({"alg": "none", "kid": "rsa"}), &claims, |_| Vec::new()),
        ),
        ("HMAC by the key set", by(&hs256, &issuer.key_set(&["rsa"]))),
        ("HMAC by the key", by(&hs256, &issuer.key("rsa").to_string())),
        (
            "HMAC by the modulus",
            by(&hs256, issuer.key("rsa")["n"].as_str().unwrap()),
        ),
        ("HMAC called RS256", by(&rs256, &issuer.key_set(&["rsa"]))),
        (
            "by another issuer's key",
            strangers.token("ES256", Some("p256"), &claims),
        ),
        (
            "by a key that the set has not",
            strangers.token("EdDSA", Some("ed25519"), &claims),
        ),
        (
            "by an algorithm that is not allowed",
            issuer.token("PS256", Some("rsa"), &claims),
        ),
        ("other claims", format!("{head}.{fresh}.{signature}")),
        ("expired", stale),
        (
            "not valid yet",
            issuer.token(
                "RS256",
                Some("rsa"),
                &of("ann", 6, json!({"nbf": at(300)})),
            ),
        ),
        (
            "for another audience",
            issuer.token(
                "RS256",
                Some("rsa"),
                &of("ann", 7, json!({"aud": "billing"})),
            ),
        ),
    ]
    .map(|(what, token)| (what, format!("Bearer {token}")))
    .to_vec()
}

#[tokio::test]
async fn a_refreshed_token_gets_the_answer_and_runs_nothing_again() {
    let proxy = Verifying::policy("").await;
    let first = proxy.send(&proxy.token(&of("ann", 1, none()))).await;
    first.is_first(201, true, "completed");
    for serial in 2..5 {
        let refreshed = proxy.token(&of("ann", serial, none()));
        proxy.send(&refreshed).await.replays(&first);
    }
    // By another key of the same issuer.
    let token = proxy
        .issuer
        .token("ES256", Some("p256"), &of("ann", 5, none()));
    proxy
        .send(&format!("Bearer {token}"))
        .await
        .replays(&first);
    // A little late, which the leeway allows.
    let late = proxy.token(&of("ann", 6, json!({"exp": at(-20)})));
    proxy.send(&late).await.replays(&first);
    assert_eq!(proxy.world.upstream.asked(), 1);
    let other = proxy.send(&proxy.token(&of("bob", 1, none()))).await;
    other.is_first(201, true, "completed");
    assert_ne!(other.body, first.body);
}

#[tokio::test]
async fn a_forged_token_of_the_same_caller_gets_no_stored_answer() {
    let proxy = Verifying::policy("").await;
    let first = proxy.send(&proxy.token(&of("ann", 1, none()))).await;
    first.is_first(201, true, "completed");
    for (what, forged) in forgeries(&proxy.issuer) {
        let answer = proxy.send(&forged).await;
        answer
            .is_problem(409, "credentials-changed")
            .in_state("completed");
        assert_eq!(answer.document()["status_code"], 201, "{what}");
    }
    assert_eq!(proxy.world.upstream.asked(), 1);
}

/// An API that does not look at signatures lets a forger go first. What it made is the forger's and the caller's, and nobody else's.
#[tokio::test]
async fn what_a_forger_made_first_is_shown_to_the_forger_and_to_whoever_is_verified() {
    let proxy = Verifying::policy("").await;
    let mut forgeries = forgeries(&proxy.issuer).into_iter();
    let (_, forger) = forgeries.next().unwrap();
    let first = proxy.send(&forger).await;
    first.is_first(201, true, "completed");
    proxy.send(&forger).await.replays(&first);
    for (_, other) in forgeries {
        let answer = proxy.send(&other).await;
        answer.is_problem(409, "credentials-changed");
    }
    let ann = proxy.token(&of("ann", 1, none()));
    proxy.send(&ann).await.replays(&first);
    assert_eq!(proxy.world.upstream.asked(), 1);
}

#[tokio::test]
async fn what_does_not_verify_is_left_to_the_upstream() {
    let proxy = Verifying::policy(r#"replay_check = { path = "/me", cache = "0s" }"#).await;
    let first = proxy.send(&proxy.token(&of("ann", 1, none()))).await;
    first.is_first(201, true, "completed");
    // Verified tokens ask nobody.
    let refreshed = proxy.token(&of("ann", 2, none()));
    proxy.send(&refreshed).await.replays(&first);
    assert_eq!(proxy.world.upstream.asked(), 1);
    let expired = proxy.token(&of("ann", 3, json!({"exp": at(-90)})));
    proxy.world.upstream.next(Reply::new(401));
    let revoked = proxy.send(&expired).await;
    revoked
        .is_problem(409, "credentials-changed")
        .in_state("completed");
    assert_eq!(revoked.document()["status_code"], 201);
    proxy.world.upstream.next(Reply::new(200));
    proxy.send(&expired).await.replays(&first);
    let targets: Vec<_> = proxy
        .world
        .upstream
        .ledger()
        .into_iter()
        .map(|entry| entry.target)
        .collect();
    assert_eq!(targets, ["/orders", "/me", "/me"]);
}

#[tokio::test]
async fn revoked_credentials_see_no_stored_answer() {
    let world = World::policy(STORE, r#"replay_check = { path = "/me", cache = "0s" }"#).await;
    let first = world.send(&under("Basic dTpw")).await;
    first.is_first(201, true, "completed");
    world.upstream.next(Reply::new(401));
    world
        .send(&under("Basic dTpx"))
        .await
        .is_problem(409, "credentials-changed");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn without_a_key_set_a_token_of_any_signature_waits_for_its_own() {
    let world = World::policy(STORE, "").await;
    let issuer = Issuer::new();
    let first = world
        .send(&under(&bearer(&issuer, &of("ann", 1, none()))))
        .await;
    first.is_first(201, true, "completed");
    world
        .send(&under(&bearer(&issuer, &of("ann", 2, none()))))
        .await
        .is_problem(409, "credentials-changed");
}

#[tokio::test]
async fn another_role_and_another_organisation_are_other_records() {
    let proxy = Verifying::policy(r#"scope = ["path", "caller", "jwt:org", "jwt:role"]"#).await;
    let token = |serial, org: Value, role: &str| {
        proxy.token(&of("ann", serial, json!({"org": org, "role": role})))
    };
    let mut answers = Vec::new();
    for (org, role) in [
        (json!("north"), "clerk"),
        (json!("north"), "admin"),
        (json!("south"), "clerk"),
        (json!(1), "clerk"),
        (json!("1"), "clerk"),
    ] {
        let first = proxy.send(&token(1, org.clone(), role)).await;
        first.is_first(201, true, "completed");
        answers.push((org, role, first));
    }
    for (org, role, first) in &answers {
        let refreshed = token(2, org.clone(), role);
        proxy.send(&refreshed).await.replays(first);
    }
    // Without the organisation the token is one of its own.
    let without = proxy.token(&of("ann", 1, json!({"role": "clerk"})));
    let first = proxy.send(&without).await;
    first.is_first(201, true, "completed");
    proxy.send(&without).await.replays(&first);
    assert_eq!(proxy.world.upstream.asked(), answers.len() + 1);
}

#[tokio::test]
async fn a_claim_counts_only_if_its_token_verifies() {
    let proxy = Verifying::policy(r#"scope = ["path", "jwt:sub"]"#).await;
    let first = proxy.send(&proxy.token(&of("ann", 1, none()))).await;
    first.is_first(201, true, "completed");
    let refreshed = proxy.token(&of("ann", 2, none()));
    proxy.send(&refreshed).await.replays(&first);
    let mut ids = vec![first.field("x-idempotency-id")];
    let others = [
        ("nobody", None),
        ("no token", Some("Basic YW5uOnB3".to_owned())),
    ];
    let forged = forgeries(&proxy.issuer)
        .into_iter()
        .filter(|(what, _)| !["expired", "not valid yet"].contains(what))
        .map(|(what, value)| (what, Some(value)));
    for (what, value) in others.into_iter().chain(forged) {
        let request = match &value {
            Some(value) => under(value),
            None => post("/orders", "k", "a"),
        };
        let answer = proxy.world.send(&request).await;
        answer.is_first(201, true, "completed");
        proxy.world.send(&request).await.replays(&answer);
        let id = answer.field("x-idempotency-id");
        assert!(!ids.contains(&id), "{what}");
        ids.push(id);
    }
    assert_eq!(proxy.world.upstream.asked(), ids.len());
}

#[tokio::test]
async fn a_token_that_expires_names_no_other_record() {
    let proxy = Verifying::policy(r#"scope = ["path", "caller", "jwt:org"]"#).await;
    let token =
        |serial, exp: i64| proxy.token(&of("ann", serial, json!({"org": "north", "exp": exp})));
    // The leeway is a minute.
    let expiry = at(-57);
    let expiring = token(1, expiry);
    let first = proxy.send(&expiring).await;
    first.is_first(201, true, "completed");
    let expired = token(2, at(-90));
    let refused = proxy.send(&expired).await;
    refused
        .is_problem(409, "credentials-changed")
        .in_state("completed");
    let id = first.field("x-idempotency-id");
    assert_eq!(refused.field("x-idempotency-id"), id);
    proxy.send(&token(3, at(600))).await.replays(&first);
    eventually(|| at(-60) > expiry).await;
    proxy.send(&expiring).await.replays(&first);
    let early = of("ann", 4, json!({"org": "north", "nbf": at(300)}));
    proxy
        .send(&proxy.token(&early))
        .await
        .is_problem(409, "credentials-changed");
    assert_eq!(proxy.world.upstream.asked(), 1);
}

#[tokio::test]
async fn an_observed_token_is_looked_at_as_it_would_be() {
    let proxy = Verifying::policy("mode = \"observe\"").await;
    proxy.send(&proxy.token(&of("ann", 1, none()))).await;
    observed(&proxy, "observed_executed").await;
    proxy.send(&proxy.token(&of("ann", 2, none()))).await;
    observed(&proxy, "observed_replayed").await;
    let (_, forged) = forgeries(&proxy.issuer).remove(0);
    proxy.send(&forged).await;
    observed(&proxy, "observed_credentials_changed").await;
    assert_eq!(proxy.world.upstream.asked(), 3);
}

#[tokio::test]
async fn an_absence_is_believed_of_a_token_that_verifies() {
    let policy = r#"
        lease = "300ms"
        upstream_timeout = "1s"
        unknown_outcome = "probe"
        probe = { path = "/orders/{key}", after = "0s" }
    "#;
    let proxy = Verifying::policy(policy).await;
    proxy.world.upstream.next(Act::new([Step::Fin]));
    proxy
        .send(&proxy.token(&of("ann", 1, none())))
        .await
        .is_problem(502, "upstream-failed");
    let (_, forged) = forgeries(&proxy.issuer).remove(0);
    proxy.world.upstream.next(Reply::new(404));
    proxy
        .send(&forged)
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    let again = patiently(async {
        loop {
            proxy.world.upstream.next(Reply::new(404));
            let again = proxy.send(&proxy.token(&of("ann", 2, none()))).await;
            if again.status != 409 {
                return again;
            }
            // A store on another machine has to be watched for a lease first.
            again.is_problem(409, "in-progress");
        }
    })
    .await;
    again.is_first(201, true, "completed");
}

#[tokio::test]
async fn headers_cookies_and_the_query_separate_keys() {
    let scope = r#"scope = ["path", "query", "header:X-Tenant", "cookie:sid"]"#;
    let policy = format!("{scope}\nfingerprint = [\"body\"]");
    let world = World::policy(STORE, &policy).await;
    let requests = [
        post("/orders", "k", "a"),
        post("/orders?", "k", "a"),
        post("/orders?a=1", "k", "a"),
        post("/orders", "k", "a").field("X-Tenant", ""),
        post("/orders", "k", "a").field("X-Tenant", "north"),
        post("/orders", "k", "a").field("X-Tenant", "north, north"),
        post("/orders", "k", "a").field("Cookie", "sid="),
        post("/orders", "k", "a").field("Cookie", "sid=north"),
        post("/orders", "k", "a").field("Cookie", "theme=dark; sid=south"),
    ];
    let mut answers = Vec::new();
    for request in &requests {
        let first = world.send(request).await;
        first.is_first(201, true, "completed");
        answers.push(first);
    }
    for (request, first) in requests.iter().zip(&answers) {
        world.send(request).await.replays(first);
    }
    let other_cookie = post("/orders", "k", "a").field("Cookie", "sid=south; theme=light");
    world.send(&other_cookie).await.replays(&answers[8]);
    assert_eq!(world.upstream.asked(), requests.len());
    // Those without the session's cookie are told apart by nothing.
    let counted = "idemproxy_cookies_without_caller_total";
    assert_eq!(world.proxy.metric(counted), 0.0);
    let other = post("/orders", "k", "a").field("Cookie", "theme=dark");
    world.send(&other).await.replays(&answers[0]);
    assert_eq!(world.proxy.metric(counted), 1.0);
}

#[tokio::test]
async fn a_part_of_the_scope_that_occurs_twice_is_refused() {
    let scope = r#"scope = ["path", "header:X-Tenant", "cookie:sid", "caller"]"#;
    let world = World::policy(STORE, scope).await;
    for request in [
        post("/orders", "k", "a")
            .field("X-Tenant", "a")
            .field("x-tenant", "a"),
        post("/orders", "k", "a").field("Cookie", "sid=1; sid=1"),
        post("/orders", "k", "a")
            .field("Cookie", "sid=1")
            .field("Cookie", "sid=2"),
        under("Basic dTpw").field("Authorization", "Basic dTpw"),
    ] {
        let answer = world.send(&request).await;
        answer.is_problem(400, "scope-ambiguous");
    }
    assert_eq!(world.upstream.asked(), 0);
}

#[tokio::test]
async fn connection_names_no_header_of_the_scope() {
    let world = World::policy(STORE, r#"scope = ["path", "header:X-Tenant", "client-ip"]"#).await;
    for named in ["X-Tenant", "keep-alive, x-tenant", "X-Forwarded-For", "Cookie", "authorization"] {
        let request = post("/orders", "k", "a")
            .field("X-Tenant", "a")
            .field("Connection", named);
        let answer = world.send(&request).await;
        answer.is_problem(400, "bad-request");
    }
    assert_eq!(world.upstream.asked(), 0);
    let request = post("/orders", "k", "a").field("Connection", "x-other");
    world.send(&request).await.is_first(201, true, "completed");
}

#[tokio::test]
async fn behind_a_trusted_peer_the_client_is_whom_it_works_for() {
    let trusting = |nets: &str| {
        format!("[server]\ntrust_forwarded = [{nets}]\n[policy]\nscope = [\"path\", \"client-ip\"]")
    };
    let via = |chain: &str| post("/orders", "k", "a").field("X-Forwarded-For", chain);
    let world = World::config(STORE, &trusting(r#""loopback", "10.0.0.0/8""#)).await;
    let first = world.send(&via("192.0.2.1")).await;
    first.is_first(201, true, "completed");
    for chain in [
        "192.0.2.1, 10.0.0.2",
        "6.6.6.6, 192.0.2.1",
        "6.6.6.6, ::ffff:192.0.2.1, 10.0.0.2",
        "192.0.2.1:4711",
    ] {
        world.send(&via(chain)).await.replays(&first);
    }
    let other = world.send(&via("192.0.2.2")).await;
    other.is_first(201, true, "completed");
    let unreadable = world.send(&via("192.0.2.1, unknown")).await;
    unreadable.is_first(201, true, "completed");
    // The peer itself, as far as anybody knows.
    world
        .send(&post("/orders", "k", "a"))
        .await
        .replays(&unreadable);
    assert_eq!(world.upstream.asked(), 3);

    let world = World::config(STORE, &trusting(r#""10.0.0.0/8""#)).await;
    let first = world.send(&via("192.0.2.1")).await;
    first.is_first(201, true, "completed");
    for chain in ["192.0.2.2", "10.0.0.2", "unknown"] {
        world.send(&via(chain)).await.replays(&first);
    }
    assert_eq!(world.upstream.asked(), 1);
}
