//! `idemproxy keys`, run as an operator runs it.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Proxy, Reply, Upstream, post};
use crate::world::{Backing, Operator, World, configuration};

const PROGRAM: &str = env!("CARGO_BIN_EXE_idemproxy");

/// Runs `idemproxy keys` with these arguments against this listener.
async fn keys(operator: &Operator, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IDEMPROXY_") {
            command.env_remove(name);
        }
    }
    let admin = format!("http://{}", operator.address);
    command
        .env("IDEMPROXY_ADMIN_URL", admin)
        .arg("keys")
        .args(args);
    command.output().await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What it prints when all is well.
async fn prints(operator: &Operator, args: &[&str]) -> String {
    let output = keys(operator, args).await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

/// What it says on standard error, and with which code it ends.
async fn fails(operator: &Operator, args: &[&str]) -> (Option<i32>, String) {
    let output = keys(operator, args).await;
    assert_eq!(stdout(&output), "", "{args:?}");
    (output.status.code(), stderr(&output))
}

/// A proxy of which each of these keys is unknown, and the ids in order.
async fn unknown(count: usize) -> (World, Operator, Vec<String>) {
    let world = World::start(Backing::Memory, "").await;
    let mut ids = Vec::new();
    for number in 0..count {
        world.upstream.next(Reply::new(502));
        let answer = world
            .send(&post("/orders", &format!("k-{number}"), "a"))
            .await;
        ids.push(answer.field("x-idempotency-id").unwrap());
    }
    ids.sort();
    let operator = world.operator();
    (world, operator, ids)
}

#[tokio::test]
async fn what_is_unknown_is_listed_shown_and_settled() {
    let (world, operator, ids) = unknown(1).await;
    let id = &*ids[0];
    let table = prints(&operator, &["list", "--state", "unknown"]).await;
    let age = table.lines().nth(1).unwrap()[45..49].trim().to_owned();
    assert!(age.ends_with('s'), "{table}");
    assert_eq!(
        table,
        format!(
            "ID                                STATE       AGE  TRIES  STATUS  REQUEST\n\
             {id}  unknown    {age:>4}      1     502  POST /orders\n"
        )
    );

    let shown = prints(&operator, &["show", id]).await;
    for line in [
        format!("id         {id}\n"),
        "state      unknown\n".to_owned(),
        "route      default\n".to_owned(),
        "path       /orders\n".to_owned(),
        "attempts   1\n".to_owned(),
        "status     502\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line} is not in\n{shown}");
    }
    assert!(
        shown.lines().all(|line| line.chars().count() <= 100),
        "{shown}"
    );

    let directory = TempDir::new().unwrap();
    let file = directory.path().join("answer.json");
    std::fs::write(&file, r#"{"status": 201, "body": "made by hand"}"#).unwrap();
    let settled = prints(
        &operator,
        &[
            "resolve",
            id,
            "--executed",
            "true",
            "--response",
            file.to_str().unwrap(),
            "--reason",
            "seen in the ledger",
        ],
    )
    .await;
    assert!(settled.contains("state      completed\n"), "{settled}");
    assert!(settled.contains("response   kept, 12 bytes\n"), "{settled}");
    let replay = world.send(&post("/orders", "k-0", "a")).await;
    assert_eq!((replay.status, &*replay.text()), (201, "made by hand"));
    assert_eq!(
        prints(&operator, &["list", "--state", "unknown"])
            .await
            .lines()
            .count(),
        1
    );

    let (code, said) = fails(&operator, &["release", id, "--reason", "x"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "409 Conflict: it is settled already: completed; `force` overrides that\n"
    );
    prints(&operator, &["release", id, "--reason", "x", "--force"]).await;
    assert_eq!(world.send(&post("/orders", "k-0", "a")).await.status, 201);
    assert_eq!(world.upstream.executions(), 2);
    let deleted = prints(&operator, &["delete", id, "--reason", "x"]).await;
    assert!(deleted.contains("state      released\n"), "{deleted}");
}

#[tokio::test]
async fn orders_need_no_reason() {
    let (_world, operator, ids) = unknown(4).await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("answer.json");
    std::fs::write(&file, r#"{"status": 201, "headers": {}, "body": "x"}"#).unwrap();
    let file = file.to_str().unwrap();
    for (args, state) in [
        (vec!["release", &ids[0]], "released"),
        (vec!["delete", &ids[1]], "released"),
        (vec!["delete", &ids[0], "--force"], "released"),
        (vec!["resolve", &ids[2], "--executed", "false"], "released"),
        (
            vec!["resolve", &ids[3], "--executed", "true", "--response", file],
            "completed",
        ),
    ] {
        let told = prints(&operator, &args).await;
        assert!(
            told.contains(&format!("state      {state}\n")),
            "{args:?}: {told}"
        );
    }
}

#[tokio::test]
async fn json_is_what_the_api_returns() {
    let (_world, operator, ids) = unknown(3).await;
    let steady = |text: &str| -> Value {
        let mut document: Value = serde_json::from_str(text).unwrap();
        // Told to the second, of a time that is measured anew.
        for entry in document["keys"].as_array_mut().into_iter().flatten() {
            entry["expires"] = Value::Null;
        }
        if document.get("id").is_some() {
            document["expires"] = Value::Null;
        }
        document
    };
    for (args, target) in [
        (vec!["list"], "/v1/keys".to_owned()),
        (vec!["list", "--limit", "2"], "/v1/keys?limit=2".to_owned()),
        (
            vec![
                "list",
                "--key",
                "k-1",
                "--route",
                "default",
                "--newer-than",
                "1h",
            ],
            "/v1/keys?key=k-1&route=default&newer_than=1h".to_owned(),
        ),
        (vec!["show", &ids[0]], format!("/v1/keys/{}", ids[0])),
    ] {
        let printed = prints(&operator, &[&args[..], &["--json"]].concat()).await;
        let returned = operator.get(&target).await.text();
        assert_eq!(steady(&printed), steady(&returned), "{args:?}");
        // In the same words, too: the fields' order is kept.
        assert_eq!(printed.split('"').nth(3), returned.split('"').nth(3));
    }
    let output = keys(&operator, &["show", &"0".repeat(32), "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let problem: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(problem["status"], 404);
    let changed = prints(&operator, &["release", &ids[0], "--reason", "x", "--json"]).await;
    assert_eq!(
        steady(&changed),
        steady(&operator.get(&format!("/v1/keys/{}", ids[0])).await.text())
    );
}

#[tokio::test]
async fn a_list_follows_the_pages_up_to_its_limit() {
    let (_world, operator, ids) = unknown(5).await;
    let output = keys(&operator, &["list", "--limit", "3"]).await;
    assert_eq!(stdout(&output).lines().count(), 4);
    assert_eq!(
        stderr(&output),
        "there may be more: raise --limit, or narrow it down\n"
    );
    let all = prints(&operator, &["list", "--limit", "2000"]).await;
    let listed: Vec<&str> = all.lines().skip(1).map(|line| &line[..32]).collect();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn a_change_can_name_the_version_that_was_shown() {
    let (_world, operator, ids) = unknown(1).await;
    let version = operator.only().await["version"]
        .as_str()
        .unwrap()
        .to_owned();
    let release = |version: String| {
        let (operator, id) = (operator.clone(), ids[0].clone());
        async move {
            keys(
                &operator,
                &["release", &id, "--reason", "x", "--if-version", &version],
            )
            .await
        }
    };
    let output = release("0".repeat(32)).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("412 Precondition Failed: "));
    assert_eq!(release(version).await.status.code(), Some(0));
}

#[tokio::test]
async fn the_token_comes_from_a_file() {
    let (directory, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let (right, wrong) = (
        directory.path().join("right"),
        directory.path().join("wrong"),
    );
    std::fs::write(&right, "s3cret\n").unwrap();
    std::fs::write(&wrong, "s3cres\n").unwrap();
    let admin = format!("token_file = \"{}\"", right.display());
    let config = configuration(&upstream, "memory:", &admin, "");
    let proxy = Proxy::start(&config).await;
    let operator = Operator::at(proxy.admin());
    prints(
        &operator,
        &["list", "--token-file", right.to_str().unwrap()],
    )
    .await;
    for args in [
        &["list"][..],
        &["list", "--token-file", wrong.to_str().unwrap()],
    ] {
        let (code, said) = fails(&operator, args).await;
        assert_eq!(code, Some(1));
        assert!(
            said.starts_with("401 Unauthorized: expected the token"),
            "{said}"
        );
        assert!(!said.contains("s3cre"), "{said}");
    }
    std::fs::write(&wrong, "\n").unwrap();
    let (code, said) = fails(
        &operator,
        &["list", "--token-file", wrong.to_str().unwrap()],
    )
    .await;
    assert_eq!(code, Some(2));
    assert!(said.ends_with(": holds no token\n"), "{said}");
    let (code, said) = fails(&operator, &["list", "--token-file", "nowhere"]).await;
    assert_eq!(code, Some(2));
    assert!(
        said.starts_with("--token-file: nowhere: cannot be read: "),
        "{said}"
    );
}

#[tokio::test]
async fn bad_usage_exits_2_and_nobody_there_exits_1() {
    let (_world, operator, ids) = unknown(1).await;
    let id = &*ids[0];
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("answer.json");
    std::fs::write(&file, "{").unwrap();
    for args in [
        &[][..],
        &["show"],
        &["show", "x"],
        &["list", "--limit", "0"],
        &["list", "--state", "done"],
        &["list", "--older-than", "1"],
        &["list", "--key", ""],
        &["resolve", id],
        &["resolve", id, "--reason", "x", "--executed", "perhaps"],
        &[
            "resolve",
            id,
            "--reason",
            "x",
            "--executed",
            "true",
            "--response",
            "nowhere",
        ],
        &[
            "resolve",
            id,
            "--reason",
            "x",
            "--executed",
            "true",
            "--response",
            file.to_str().unwrap(),
        ],
        &["list", "--admin", "https://127.0.0.1:1"],
    ] {
        let (code, said) = fails(&operator, args).await;
        assert_eq!(code, Some(2), "{args:?}: {said}");
    }
    for limit in [
        &["--limit", "-1"][..],
        &["--limit=-1"],
        &["--limit", "0"],
        &["--limit", "x"],
    ] {
        let (code, said) = fails(&operator, &[&["list"], limit].concat()).await;
        assert_eq!(code, Some(2), "{limit:?}: {said}");
        assert!(
            said.contains("expected a number from 1 on"),
            "{limit:?}: {said}"
        );
    }
    assert_eq!(operator.only().await["state"], json!("unknown"));
    // Bound and not listening, so that nobody else can listen there either.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = Operator::at(socket.local_addr().unwrap());
    let (code, said) = fails(&nobody, &["list"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("no answer: "), "{said}");
}
