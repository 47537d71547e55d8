//! What the program does about the system that it is started on.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::idemproxy;
use super::notify::Service;

/// The service, and the events of its log until it listens.
fn started(command: &mut Command) -> (Service, Vec<Value>) {
    command
        .args(["run", "--log-format", "json", "--upstream"])
        .args(["http://127.0.0.1:9", "--listen", "127.0.0.1:0"])
        .args(["--admin", "127.0.0.1:0"]);
    let mut service = Service::of(command);
    let log = service.log_until(|line| line.contains("\"listening for operators\""));
    let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
    (service, events.collect())
}

fn said<'a>(events: &'a [Value], word: &str) -> Option<&'a Value> {
    let about = |event: &&Value| event["message"].as_str().unwrap().contains(word);
    events.iter().find(about)
}

#[test]
fn as_many_files_may_be_open_as_the_system_gives_and_too_few_are_told() {
    let mut shell = Command::new("/bin/sh");
    let script = "ulimit -Sn 256 && ulimit -Hn 1024 && exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_idemproxy")]);
    shell.env_clear();
    let (service, events) = started(&mut shell);
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[3..5], ["1024", "1024"]);
    let warning = said(&events, "fewer open files").expect("it is told");
    assert_eq!(
        (&warning["level"], &warning["allowed"]),
        (&"WARN".into(), &1024.into())
    );
    assert!(warning["needed"].as_u64().unwrap() > 10_000, "{warning}");

    let mut shell = Command::new("/bin/sh");
    let script = "ulimit -Sn 256 && exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_idemproxy")]);
    shell.env_clear();
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("idemproxy.toml");
    fs::write(
        &config,
        "[server]\nmax_connections = 10\n[upstream_connections]\nmax_connections = 10\nmax_idle = 5\n[store]\nurl = \"memory:\"\n",
    )
    .unwrap();
    shell.env("IDEMPROXY_CONFIG", &config);
    let (_service, events) = started(&mut shell);
    assert_eq!(said(&events, "fewer open files"), None);
}

#[test]
fn where_the_records_are_is_told_and_that_there_were_none() {
    let directory = TempDir::new().unwrap();
    // As the program sees it, which may be by another name.
    let place = directory.path().canonicalize().unwrap();
    let config = place.join("idemproxy.toml");
    fs::write(&config, "[store]\nurl = \"embedded:data\"\n").unwrap();
    let file = place.join("data/records.redb");
    for level in ["WARN", "INFO"] {
        let mut command = idemproxy();
        command.current_dir(&place).env("IDEMPROXY_CONFIG", &config);
        let (service, events) = started(&mut command);
        let told = said(&events, "records").expect("it is told");
        let expected: (&Value, &Value) = (&level.into(), &file.to_str().unwrap().into());
        assert_eq!((&told["level"], &told["file"]), expected);
        service.stop();
    }
    // Without a configuration it is a first look at it.
    let elsewhere = TempDir::new().unwrap();
    let mut command = idemproxy();
    let (_service, events) = started(command.current_dir(elsewhere.path()));
    assert_eq!(
        said(&events, "records").expect("it is told")["level"],
        "INFO"
    );

    let mut command = idemproxy();
    command
        .current_dir(&place)
        .args(["check", "--upstream", "http://127.0.0.1:9", "--config"]);
    let told = super::stdout(command.arg(&config).output().unwrap());
    assert!(told.contains(file.to_str().unwrap()), "{told}");
}

#[test]
fn operators_may_be_let_in_with_no_file_but_that_of_their_token() {
    let directory = TempDir::new().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "of-the-test\n").unwrap();
    let mut command = idemproxy();
    command.args([
        "run",
        "--upstream",
        "http://127.0.0.1:9",
        "--store",
        "memory:",
    ]);
    command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.env("IDEMPROXY_ADMIN", "0.0.0.0:0");
    command.env("IDEMPROXY_ADMIN_TOKEN_FILE", &token);
    let mut service = Service::of(&mut command);
    let log = service.log_until(|line| line.contains("\"listening for operators\""));
    let port = log
        .lines()
        .last()
        .unwrap()
        .rsplit_once("0.0.0.0:")
        .unwrap()
        .1;
    let port: u16 = port.split('"').next().unwrap().parse().unwrap();
    let admin = format!("http://127.0.0.1:{port}");
    let list = |file: Option<&std::path::Path>| {
        let mut list = idemproxy();
        list.args(["keys", "list", "--admin", &admin]);
        list.args(file.map(|file| format!("--token-file={}", file.display())));
        list.status().unwrap().code()
    };
    assert_eq!(list(Some(&token)), Some(0));
    assert_eq!(list(None), Some(1));

    fs::write(&token, "no token\n").unwrap();
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.starts_with("IDEMPROXY_ADMIN_TOKEN_FILE: "), "{said}");
}
