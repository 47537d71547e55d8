//! The program, run as an operator runs it.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// Runs the program with none of its variables set but `variables`.
fn idemproxy(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idemproxy"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IDEMPROXY_") {
            command.env_remove(name);
        }
    }
    command
        .args(args)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn file(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("idemproxy.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn check_prints_each_routes_policy_and_what_weakens_it() {
    let dir = TempDir::new().unwrap();
    let path = file(
        &dir,
        r#"
        upstream = "http://127.0.0.1:3000"
        [[route]]
        name = "orders"
        path = "/orders/{id}"
        methods = ["PUT"]
        upstream = "http://127.0.0.1:3001"
        retention = "7d"
        unknown_outcome = "retry"
        "#,
    );
    let output = idemproxy(&["check", "--config", path.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let (head, orders) = {
        let text = stdout(&output);
        let (head, orders) = text.split_once("\nroute orders /orders/{id}\n").unwrap();
        (head.to_owned(), orders.to_owned())
    };
    for line in [
        "  listen                127.0.0.1:8080",
        "  admin                 127.0.0.1:9090",
        "  store                 embedded:idemproxy-data",
        "route default (where no other matches)",
        "  upstream              http://127.0.0.1:3000",
        "  retention             1d",
        "  may run again         after 401, 403, 407, 408, 409, 421, 423, 425, 429, and 5xx but 502 and 504",
    ] {
        assert!(head.lines().any(|found| found == line), "{line}\n{head}");
    }
    for line in [
        "  upstream              http://127.0.0.1:3001",
        "  methods               PUT",
        "  retention             7d",
        "what weakens the guarantee",
        "  - route orders: unknown_outcome is retry: a request whose outcome is unknown runs again, so at least once instead of at most once",
    ] {
        assert!(
            orders.lines().any(|found| found == line),
            "{line}\n{orders}"
        );
    }
}

#[test]
fn check_tells_all_faults_on_stderr_and_exits_2() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "listen = 1\nupsteam = \"http://h\"\n");
    let path = path.to_str().unwrap();
    let output = idemproxy(&["check", "--config", path], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout(&output), "");
    let lines: Vec<String> = stderr(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("{path}:1:1: upstream: missing, ")),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with(&format!("{path}:1:10: 1: expected ")),
        "{lines:?}"
    );
    assert_eq!(
        lines[2],
        format!("{path}:2:1: upsteam: unknown key, did you mean `upstream`?")
    );
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_by_name_and_exits_2() {
    for command in ["check", "run"] {
        let output = idemproxy(&[command, "--config", "/nowhere/idemproxy.toml"], &[]);
        assert_eq!(output.status.code(), Some(2));
        let message = stderr(&output);
        assert!(
            message.starts_with("/nowhere/idemproxy.toml: cannot be read: "),
            "{message}"
        );
    }
}

#[test]
fn a_flag_comes_before_its_variable_and_that_before_the_file() {
    let dir = TempDir::new().unwrap();
    let path = file(
        &dir,
        "upstream = \"http://h\"\nlisten = \"127.0.0.1:1\"\nservice = \"file\"",
    );
    let variables = [
        ("IDEMPROXY_CONFIG", path.to_str().unwrap()),
        ("IDEMPROXY_LISTEN", "127.0.0.1:2"),
        ("IDEMPROXY_ADMIN", "off"),
        ("IDEMPROXY_STORE", "memory:"),
    ];
    let output = idemproxy(&["check", "--listen", "127.0.0.1:3"], &variables);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for line in [
        "  listen                127.0.0.1:3",
        "  admin                 off",
        "  service               file",
        "  store                 memory:",
    ] {
        assert!(stdout(&output).lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn a_bad_value_is_told_with_its_flag_or_variable_and_exits_2() {
    let upstream = ["run", "--upstream", "http://127.0.0.1:3000"];
    let output = idemproxy(&upstream, &[("IDEMPROXY_LOG_FORMAT", "xml")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "IDEMPROXY_LOG_FORMAT: \"xml\": expected \"text\" or \"json\"\n"
    );

    let output = idemproxy(
        &["run", "--upstream", "127.0.0.1:3000"],
        &[("IDEMPROXY_UPSTREAM", "http://h")],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("--upstream: \"127.0.0.1:3000\": expected http://"),
        "{}",
        stderr(&output)
    );

    let output = idemproxy(&["demo", "--listen", "here"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("--listen: \"here\": expected an IP address"),
        "{}",
        stderr(&output)
    );

    for args in [&["run", "--nonsense"][..], &["explain"], &["check"], &[]] {
        assert_eq!(idemproxy(args, &[]).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn help_and_version_exit_0_and_help_shows_no_value_of_a_variable() {
    let output = idemproxy(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        concat!("idemproxy ", env!("CARGO_PKG_VERSION"), "\n")
    );

    let output = idemproxy(
        &["run", "--help"],
        &[("IDEMPROXY_STORE", "redis://:hunter2@h")],
    );
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("IDEMPROXY_STORE"));
    assert!(!stdout(&output).contains("hunter2"));
}

/// Answers one request with `status`, and gives back the request's first line.
fn answer_once(status: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        let request = String::from_utf8(request).unwrap();
        request.lines().next().unwrap().to_owned()
    });
    (url, server)
}

#[test]
fn healthcheck_exits_0_exactly_when_the_proxy_is_ready() {
    let (url, server) = answer_once("200 OK");
    let output = idemproxy(&["healthcheck", "--admin", &url], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.join().unwrap(), "GET /readyz HTTP/1.1");

    let (url, server) = answer_once("503 Service Unavailable");
    let output = idemproxy(&["healthcheck", "--admin", &url], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).ends_with("is not ready: it answered 503\n"));
    server.join().unwrap();
}

#[test]
fn healthcheck_finds_the_proxy_by_the_variable_that_keys_has_too() {
    let (url, server) = answer_once("200 OK");
    let output = idemproxy(&["healthcheck"], &[("IDEMPROXY_ADMIN_URL", &url)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.join().unwrap(), "GET /readyz HTTP/1.1");

    // The flag comes first.
    let (url, server) = answer_once("200 OK");
    let output = idemproxy(
        &["healthcheck", "--admin", &url],
        &[("IDEMPROXY_ADMIN_URL", "http://127.0.0.1:1")],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    server.join().unwrap();

    let output = idemproxy(&["healthcheck", "--help"], &[]);
    assert!(stdout(&output).contains("IDEMPROXY_ADMIN_URL"));
}

#[test]
fn healthcheck_exits_1_where_nobody_listens_and_2_for_what_is_no_address() {
    // Bound and not listening, so that nobody else can listen there either.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let url = format!("http://{address}");
    assert_eq!(
        idemproxy(&["healthcheck", "--admin", &url], &[])
            .status
            .code(),
        Some(1)
    );
    for url in ["https://127.0.0.1:9090", "127.0.0.1:9090", "/readyz"] {
        let output = idemproxy(&["healthcheck", "--admin", url], &[]);
        assert_eq!(output.status.code(), Some(2), "{url}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("idemproxy.toml");
    std::fs::write(&path, b"# \xc3\xa9\nservice = \"\xc3\xa9\xff\"\n").unwrap();
    let output = idemproxy(&["check", "--config", path.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = format!("{}:2:13: not UTF-8", path.display());
    assert!(stderr(&output).starts_with(&told), "{}", stderr(&output));
}

#[test]
fn schema_prints_the_schema_and_a_reader_may_leave_early() {
    let output = idemproxy(&["schema"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let schema: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let policy = &schema["properties"]["policy"]["properties"];
    assert_eq!(policy["lease"]["default"], "30s");
    assert!(
        policy["lease"]["description"]
            .as_str()
            .unwrap()
            .starts_with("A proxy that works on a request")
    );

    let mut child = Command::new(env!("CARGO_BIN_EXE_idemproxy"))
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn explain_takes_a_url_headers_and_a_body_and_the_flags_of_run() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "[store]\nurl = \"redis://h\"\nprefix = \"p\"");
    let path = path.to_str().unwrap();
    let told = |target: &str, service: &str| {
        let config = ["explain", "--config", path, "--upstream", "http://h:3000"];
        let request = [
            "POST",
            target,
            "-H",
            "idempotency-key:k",
            "--header",
            "A: b:c",
        ];
        let args = [&config[..], &request].concat();
        let output = idemproxy(&args, &[("IDEMPROXY_SERVICE", service)]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let absolute = told("https://api.example/orders?a=1#x", "s");
    assert_eq!(absolute, told("/orders?a=1", "s"));
    let id = |told: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix("record id"));
        line.unwrap().trim().to_owned()
    };
    for line in [
        "request       POST /orders".to_owned(),
        "upstream      http://h:3000".to_owned(),
        "scope         service      s".to_owned(),
        format!("redis key     p:{}", id(&absolute)),
    ] {
        assert!(
            absolute.lines().any(|found| found == line),
            "{line}\n{absolute}"
        );
    }
    assert_ne!(id(&absolute), id(&told("/orders?a=1", "t")));
}

#[test]
fn explain_reads_a_body_from_the_standard_input() {
    let dir = TempDir::new().unwrap();
    let path = file(
        &dir,
        "upstream = \"http://h\"\n[policy]\nkey = [\"json:/id\"]",
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_idemproxy"))
        .args(["explain", "--config", path.to_str().unwrap()])
        .args(["POST", "/", "--body", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(br#"{"id":"from stdin"}"#).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told = stdout(&output);
    assert!(told.contains("\nkey           from stdin\n"), "{told}");
}

#[test]
fn explain_exits_2_for_what_is_no_request_and_no_configuration() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "upstream = \"http://h\"");
    let path = path.to_str().unwrap();
    for args in [
        &["/orders"][..],
        &["POST"],
        &["P OST", "/"],
        &["POST", "orders"],
        &["POST", "h:80"],
        &["POST", "ftp://h/"],
        &["POST", "/", "-H", "a"],
        &["POST", "/", "-H", "a b: c"],
        &["POST", "/", "--body", "/nowhere/body"],
        &["POST", "/", "--store", "nowhere:"],
    ] {
        let args = [&["explain", "--config", path], args].concat();
        let output = idemproxy(&args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!stderr(&output).is_empty() && stdout(&output).is_empty());
    }
}
