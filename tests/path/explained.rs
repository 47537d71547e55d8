//! `idemproxy explain` tells what the running proxy does.

use std::process::Output;

use idemproxy::idempotency::RecordId;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::*;
use crate::world::*;

/// A proxy, and the file of its configuration.
struct Explained {
    world: World,
    directory: TempDir,
}

impl Explained {
    async fn with(sections: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let world = World::config(Backing::Memory, sections).await;
        let text = configuration(&world.upstream, "memory:", sections);
        std::fs::write(directory.path().join("idemproxy.toml"), text).unwrap();
        Self { world, directory }
    }

    /// What the program tells of a request, line by line.
    async fn explain(&self, request: &Request) -> Vec<String> {
        let body = self.directory.path().join("body");
        std::fs::write(&body, &request.body).unwrap();
        let mut command = Command::new(PROGRAM);
        command.env_clear().arg("explain");
        command.arg("--config");
        command.arg(self.directory.path().join("idemproxy.toml"));
        command.args([&request.method, &request.target]);
        for (name, value) in &request.fields {
            let value = String::from_utf8(value.clone()).unwrap();
            command.args(["-H", &format!("{name}: {value}")]);
        }
        let Output { status, stdout, .. } = command.arg("--body").arg(body).output().await.unwrap();
        assert!(status.success(), "{request:?}");
        let text = String::from_utf8(stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// That a request is executed, and explained by the id that its answer has and by these lines.
    async fn agrees(&self, request: &Request, lines: &[&str]) {
        let answer = self.world.send(request).await;
        let told = self.explain(request).await;
        answer.is_first(201, true, "completed");
        let id = format!(
            "record id     {}",
            answer.field("x-idempotency-id").unwrap()
        );
        for line in lines.iter().chain([&id.as_str()]) {
            let told = told.iter().any(|found| found.starts_with(line));
            assert!(told, "{line}\n{:#?}", self.explain(request).await);
        }
    }
}

const SOURCES: &str = r#"
[policy]
key = ["header:X-Op", "query:op", "json:/op/id"]
[[route]]
name = "clicks"
path = "/clicks/{id}"
key = ["content"]
retention = "5s"
scope = ["path"]
[[route]]
path = "/uploads"
max_buffered_request = "10"
key = ["header:X-Op"]
"#;

#[tokio::test]
async fn the_id_that_is_explained_is_the_one_that_the_answer_has() {
    let explained = Explained::with(SOURCES).await;
    let plain = |target: &str| post(target, "", r#"{"op":{"id":42}}"#);
    explained
        .agrees(
            &plain("/orders?op=b").field("X-Op", "\"a b\""),
            &[
                "route         default (no other matches)",
                "mode          enforce",
                "covered       yes",
                "key           a b",
                "key from      the header x-op",
                "scope         service      tests",
                "              method       POST",
                "              path         /orders",
                "              caller       ",
                "fingerprint   method       ",
                "              query        ",
                "              body         ",
                "body          16 B, held in memory; one over max_buffered_request, 1.0 MiB, is streamed",
            ],
        )
        .await;
    explained
        .agrees(
            &plain("/orders?op=b%20c"),
            &["key           b c", "key from      the query parameter op"],
        )
        .await;
    explained
        .agrees(
            &plain("/orders").field("Content-Type", "application/json"),
            &[
                "key           42",
                "key from      the body at /op/id",
                "body          16 B, held in memory; one over max_buffered_request, 1.0 MiB, is refused",
            ],
        )
        .await;
    explained
        .agrees(
            &plain("/clicks/7?a=1"),
            &[
                "route         clicks /clicks/{id}",
                "key           content:",
                "key from      the content",
                "              path         /clicks/7",
            ],
        )
        .await;
    explained
        .agrees(
            &plain("/uploads").field("X-Op", "u-1"),
            &[
                "route         /uploads",
                "body          16 B, streamed: over max_buffered_request, 10 B",
            ],
        )
        .await;
    assert_eq!(explained.world.upstream.asked(), 5);
}

#[tokio::test]
async fn a_caller_is_explained_by_what_names_it_and_without_the_credentials() {
    let explained = Explained::with("").await;
    for (key, credentials, taken_from) in [
        (
            "k-1",
            "Bearer sesame",
            "(digest of all of the Authorization header)",
        ),
        // sesame:sesame
        (
            "k-2",
            "Basic c2VzYW1lOnNlc2FtZQ==",
            "(digest of the user name of Basic credentials)",
        ),
        // {"iss":"a","sub":"sesame"}
        (
            "k-3",
            "Bearer e30.eyJpc3MiOiJhIiwic3ViIjoic2VzYW1lIn0.sesame",
            "(digest of iss and sub of a bearer JWT)",
        ),
        ("k-4", "", "(nobody, without an Authorization header)"),
    ] {
        let mut request = post("/orders", key, "a");
        if !credentials.is_empty() {
            request = request.field("Authorization", credentials);
        }
        explained
            .agrees(&request, &["              caller       "])
            .await;
        let told = explained.explain(&request).await;
        let caller = told.iter().find(|line| line.contains(" caller "));
        assert!(caller.unwrap().ends_with(taken_from), "{told:?}");
        let shown = told.concat();
        assert!(
            !shown.contains("sesame") && !shown.contains("c2VzYW1l"),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_explained_in_the_words_of_the_answer() {
    let explained = Explained::with(
        "[policy]\nkey = [\"header:X-Op\", \"json:/op\"]\nkey_format = \"uuid4\"\nmax_buffered_request = \"20\"\nmax_request_body = \"40\"\nkey_required = true",
    )
    .await;
    let key = "00000000-0000-4000-8000-000000000000";
    for (request, status) in [
        (post("/orders", "", "a"), 400),
        (post("/orders", "", "a").field("X-Op", "k"), 400),
        (
            post("/orders", "", "a")
                .field("X-Op", key)
                .field("X-Op", key),
            400,
        ),
        (post("/orders", "", "{\"op\":1,\"op\":2}"), 400),
        (post("/orders", "", "{\"op\":1, \"a\": 12345678}"), 413),
        (post("/orders", "", "a".repeat(41)).field("X-Op", key), 413),
        (post("/a/../b", "", "a").field("X-Op", key), 400),
        (
            post("/orders", "", "a")
                .field("X-Op", key)
                .field("Connection", "x-op"),
            400,
        ),
        (
            post("/orders", "", "a")
                .field("X-Op", key)
                .field("Authorization", "a")
                .field("Authorization", "b"),
            400,
        ),
    ] {
        let answer = explained.world.send(&request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let code = answer.field("x-idempotency-error").unwrap();
        let detail = answer.document()["detail"].as_str().unwrap().to_owned();
        let told = explained.explain(&request).await;
        let line = format!("comes to      {status} {code}: {detail}");
        assert!(told.contains(&line), "{line}\n{told:#?}");
        let id = answer.field("x-idempotency-id");
        let line = id.map(|id| format!("record id     {id}"));
        assert_eq!(
            told.iter().find(|line| line.starts_with("record id")),
            line.as_ref()
        );
    }
    assert_eq!(explained.world.upstream.asked(), 0);
}

#[tokio::test]
async fn what_passes_is_explained_by_why() {
    let explained = Explained::with(
        "[[route]]\npath = \"/off\"\nmode = \"off\"\n[[route]]\npath = \"/put\"\nmethods = [\"PUT\"]",
    )
    .await;
    for (request, line) in [
        (
            get("/orders"),
            "covered       no: its route does not cover the method",
        ),
        (
            post("/put", "k", "a"),
            "covered       no: its route does not cover the method",
        ),
        (
            post("/off", "k", "a"),
            "covered       no: the mode of its route is off",
        ),
        (
            post("/orders", "", "a"),
            "comes to      passed on as it is: it has no key, and needs none",
        ),
    ] {
        let answer = explained.world.send(&request).await;
        assert_eq!(answer.field("x-idempotency-id"), None, "{answer:?}");
        let told = explained.explain(&request).await;
        assert!(told.contains(&line.to_owned()), "{line}\n{told:#?}");
        let named = |line: &String| line.starts_with("record id");
        assert!(!told.iter().any(named), "{told:#?}");
    }
    assert_eq!(explained.world.upstream.asked(), 4);
}

#[tokio::test]
async fn headers_cookies_and_the_query_are_explained_by_digests() {
    let scope = r#"scope = ["path", "query", "header:X-Api-Key", "header:X-Tenant", "cookie:sid"]"#;
    let explained = Explained::with(&format!("[policy]\n{scope}")).await;
    let request = post("/orders?token=sesame", "k", "a")
        .field("X-Api-Key", "sesame")
        .field("Cookie", "sid=sesame");
    let lines = [
        "request       POST /orders",
        "              query        ",
        "              header:x-api-key ",
        "              header:x-tenant (absent)",
        "              cookie:sid   ",
    ];
    explained.agrees(&request, &lines).await;
    let told = explained.explain(&request).await;
    assert!(!told.concat().contains("sesame"), "{told:#?}");
    let digests = told.iter().filter(|line| line.ends_with(" (digest)"));
    assert_eq!(digests.count(), 3, "{told:#?}");
}

#[tokio::test]
async fn an_observed_request_is_explained_by_the_record_of_its_observation() {
    let enforced = Explained::with("").await;
    let observed = Explained::with("[policy]\nmode = \"observe\"").await;
    let request = post("/orders", "k", "a");
    let told = async |explained: &Explained| {
        let told = explained.explain(&request).await;
        let id = told.iter().find_map(|line| line.strip_prefix("record id"));
        u128::from_str_radix(id.unwrap().trim(), 16).unwrap()
    };
    let record = RecordId::from_bytes(told(&enforced).await.to_be_bytes());
    let observation = u128::from_be_bytes(*record.observed().as_bytes());
    assert_eq!(told(&observed).await, observation);
}

#[tokio::test]
async fn under_a_secret_the_id_that_is_explained_is_the_one_that_the_answer_has() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "a secret that is long enough to be one\n").unwrap();
    let with = format!("[store]\nsecret_file = {file:?}\n");
    let request = post("/orders", "k", "a").field("Authorization", "Bearer a");
    let mut fingerprints = Vec::new();
    for sections in ["", with.as_str()] {
        let explained = Explained::with(sections).await;
        explained.agrees(&request, &["fingerprint   method"]).await;
        let told = explained.explain(&request).await;
        fingerprints.extend(told.into_iter().filter(|line| line.contains("  body  ")));
    }
    assert_eq!(fingerprints.len(), 2, "{fingerprints:?}");
    assert_ne!(fingerprints[0], fingerprints[1]);
}

#[tokio::test]
async fn under_a_secret_no_digest_of_a_part_of_the_scope_can_be_guessed_at() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "a secret that is long enough to be one\n").unwrap();
    let with = format!("[store]\nsecret_file = {file:?}\n");
    let scope = "[policy]\nscope = [\"caller\", \"query\", \"header:X-Tenant\", \"cookie:user\"]\n";
    let request = post("/orders?token=a", "k", "a")
        .field("Authorization", "Bearer a")
        .field("X-Tenant", "1")
        .field("Cookie", "user=ada");
    let mut told = Vec::new();
    for sections in [scope.to_owned(), with + scope] {
        let explained = Explained::with(&sections).await;
        let lines = explained.explain(&request).await;
        told.push(lines.into_iter().filter(|line| line.contains("digest")));
    }
    let (under, plain) = (told.pop().unwrap(), told.pop().unwrap());
    let mut seen = 0;
    for (plain, under) in plain.zip(under) {
        assert_eq!(plain[..27], under[..27]);
        assert_ne!(plain, under);
        seen += 1;
    }
    assert_eq!(seen, 4);
}
