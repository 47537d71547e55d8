//! SIGHUP, to the program itself.

use serde_json::Value;

use crate::support::*;
use crate::world::*;

/// The messages of the log from where it began with `from`, one a line.
fn said(process: &Process, level: &str) -> Vec<String> {
    let log = process.log();
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["level"] == level && event["target"] == "idemproxy::app::reload")
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until so much was said.
async fn says(process: &Process, level: &str, expected: &[String]) {
    patiently(async {
        while said(process, level).len() < expected.len() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(said(process, level), expected);
}

async fn run(file: &File, flags: &[(&str, &str)]) -> Process {
    let config = [("--config", file.path().to_str().unwrap())];
    Process::with_flags(PROGRAM, &[&config[..], flags].concat(), &[]).await
}

async fn reaches(process: &Process, metric: &str, expected: f64) {
    patiently(async { while process.metric(metric).await != expected {} }).await;
}

#[tokio::test]
async fn a_hangup_reloads_the_file_and_flags_come_over_it_as_ever() {
    let upstream = Upstream::start().await;
    let url = upstream.url();
    let file = File::new(&configuration(&upstream, ""));
    let process = run(
        &file,
        &[
            ("--service", "flag"),
            ("--listen", "127.0.0.1:0"),
            ("--upstream", &url),
        ],
    )
    .await;
    assert_eq!(process.send(&post("/orders", "k", "a")).await.status, 201);
    // What flags say is not changed by the file.
    let text = configuration(&upstream, "[policy]\nkey_max_length = 5\n")
        .replace(&url, "http://127.0.0.1:9")
        .replacen("127.0.0.1:0", "127.0.0.1:7", 1)
        .replace("tests", "other");
    file.write(&text);
    process.hang_up().await;
    reaches(&process, APPLIED, 1.0).await;
    assert_eq!(
        process
            .send(&post("/orders", "0123456789", "a"))
            .await
            .status,
        400
    );
    let again = process.send(&post("/orders", "k", "a")).await;
    assert_eq!(again.field("x-idempotency-replay").as_deref(), Some("true"));
    let reloaded = "the configuration is reloaded".to_owned();
    says(&process, "INFO", &[reloaded]).await;
}

#[tokio::test]
async fn a_hangup_forgets_no_keys_and_the_log_says_what_would() {
    let upstream = Upstream::start().await;
    let file = File::new(&configuration(&upstream, ""));
    let process = run(&file, &[]).await;
    file.write(&configuration(
        &upstream,
        "[policy]\nscope = []\nin_flight = \"wiat\"",
    ));
    process.hang_up().await;
    reaches(&process, REFUSED, 1.0).await;
    file.write(&configuration(&upstream, "[policy]\nscope = []\n"));
    process.hang_up().await;
    reaches(&process, REFUSED, 2.0).await;
    let name = file.path().display();
    let said = [
        "nothing is reloaded, all goes on as before: the configuration is faulty".to_owned(),
        format!("{name}:10:13: \"wiat\": expected \"reject\" or \"wait\""),
        "nothing is reloaded, all goes on as before: the configuration would forget keys; POST /v1/reload?forget_keys=true on the admin listener takes it all the same".to_owned(),
        format!("{name}:9:9: []: `scope` is another for route default, so that the keys used there so far would be forgotten, and run again"),
    ];
    says(&process, "ERROR", &said).await;
}

#[tokio::test]
async fn a_program_without_a_file_survives_a_hangup_and_says_so() {
    let upstream = Upstream::start().await;
    let url = upstream.url();
    let flags = [
        ("--upstream", url.as_str()),
        ("--store", "memory:"),
        ("--listen", "127.0.0.1:0"),
        ("--admin", "127.0.0.1:0"),
    ];
    let process = Process::with_flags(PROGRAM, &flags, &[]).await;
    process.hang_up().await;
    let nothing = "nothing is reloaded, all goes on as before: there is nothing to reload: the program was started without a configuration file";
    says(&process, "ERROR", &[nothing.to_owned()]).await;
    assert_eq!(process.metric(REFUSED).await, 0.0, "nothing failed");
    assert_eq!(process.send(&post("/orders", "k", "a")).await.status, 201);
}
