//! What is refused, whole: the old configuration goes on.

use std::fs;

use crate::support::*;
use crate::world::*;

#[tokio::test]
async fn of_a_faulty_file_nothing_is_taken_and_all_faults_are_told() {
    let world = World::of("").await;
    world
        .refuses(
            "[policy]\nkey_max_length = 1\nlease = 5\n[server]\nmax_waiter = 1",
            422,
            &[
                "10:9: 5: expected a duration with its unit, such as \"500ms\", \"30s\" or \"24h\"",
                "12:1: max_waiter: unknown key, did you mean `max_waiters`?",
            ],
        )
        .await;
    assert_eq!(world.post("0123456789", "a").await.status, 201);
    world.file.write("= 1");
    assert_eq!(reload(&world.proxy, "").await.status, 422);
    fs::remove_file(world.file.path()).unwrap();
    let gone = reload(&world.proxy, "").await;
    assert_eq!(gone.status, 422);
    assert!(gone.text().contains("cannot be read"), "{gone:?}");
    assert_eq!(world.proxy.metric(REFUSED), 3.0);
    world.reload("").await;
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_by_name_and_place() {
    let world = World::of("").await;
    let text = configuration(
        &world.upstream,
        "timeout = \"1s\"\nprefix = \"p\"\n[policy]\nkey_max_length = 1\n",
    )
    .replacen("127.0.0.1:0", "127.0.0.1:1", 1)
    .replacen("127.0.0.1:0", "127.0.0.1:2", 1)
    .replace("\"tests\"", "\"other\"")
    .replace("memory:", "redis://:secret@127.0.0.1:1");
    world
        .refuses_text(
            &text,
            409,
            &[
                "1:10: \"127.0.0.1:1\": `listen` is changed, which needs a restart",
                "3:11: \"other\": `service` is changed, which needs a restart",
                "5:10: \"127.0.0.1:2\": `admin.listen` is changed, which needs a restart",
                "7:7: \"redis:…\": `store.url` is changed, which needs a restart",
                "8:11: \"1s\": `store.timeout` is changed, which needs a restart",
                "9:10: \"p\": `store.prefix` is changed, which needs a restart",
            ],
        )
        .await;
    assert_eq!(world.post("0123456789", "a").await.status, 201);
    // By effect: a default that is written out is no change, and one that goes is one.
    world
        .reload(
            "timeout = \"500ms\"
sync = \"always\"
",
        )
        .await;
    world
        .refuses_text(
            &configuration(&world.upstream, "").replace("service = \"tests\"\n", ""),
            409,
            &["1:1: `service` is changed, which needs a restart"],
        )
        .await;
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused() {
    let world = World::of("").await;
    let file = world.file.beside("ca.pem", "no certificate");
    let text = configuration(
        &world.upstream,
        &format!("[upstream_connections]\nca_file = {file:?}\n"),
    )
    .replace("http://", "https://");
    world.file.write(&text);
    let answer = reload(&world.proxy, "").await;
    assert_eq!(answer.status, 422, "{answer:?}");
    let told = answer.document()["faults"].to_string();
    assert!(told.contains("ca.pem"), "{answer:?}");
    assert_eq!(world.post("k", "a").await.status, 201);
}

#[tokio::test]
async fn only_an_operator_may_ask_for_it() {
    let world = World::of("").await;
    let host = world.proxy.admin().to_string();
    let ask = async |method: &str, fields: &[(&str, &str)], body: &str| {
        let mut request = Request::new(method, "/v1/reload").body(body);
        request.fields = vec![("Host".to_owned(), host.clone().into_bytes())];
        for (name, value) in fields {
            request = request.field(name, value);
        }
        Client::once(world.proxy.admin(), &request).await.status
    };
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let json = ("Content-Type", "application/json; charset=utf-8");
    assert_eq!(ask("GET", &[], "").await, 405);
    assert_eq!(ask("POST", &[form], "").await, 415);
    assert_eq!(
        ask("POST", &[("Content-Type", "text/plain")], "{}").await,
        415
    );
    assert_eq!(ask("POST", &[], "{}").await, 415);
    assert_eq!(
        ask("POST", &[json, ("Origin", "http://evil.example")], "{}").await,
        403
    );
    assert_eq!(
        world.proxy.metric(APPLIED) + world.proxy.metric(REFUSED),
        0.0
    );
    assert_eq!(ask("POST", &[json], "{}").await, 200);
    assert_eq!(ask("POST", &[], "").await, 200);
    assert_eq!(world.proxy.metric(APPLIED), 2.0);
}

#[tokio::test]
async fn without_a_file_there_is_nothing_to_reload() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&configuration(&upstream, "")).await;
    let answer = reload(&proxy, "").await;
    assert_eq!(answer.status, 409);
    assert!(
        answer.text().contains("without a configuration file"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_pipe_is_read_once_and_not_again() {
    let world = World::of("").await;
    std::fs::remove_file(world.file.path()).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(world.file.path())
        .status();
    assert!(made.unwrap().success());
    let answer = reload(&world.proxy, "").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.text().contains("no regular file"), "{answer:?}");
    assert_eq!(world.post("k", "a").await.status, 201);
}
