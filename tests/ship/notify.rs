//! What the program tells the service manager that started it.

use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::idemproxy;

#[test]
fn the_service_manager_hears_of_start_reload_and_drain() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    told_all(&manager, path.to_str().unwrap());
}

#[test]
fn the_service_managers_socket_may_have_no_file() {
    let name = format!("idemproxy-{}-{}", std::process::id(), uuid::Uuid::now_v7());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    told_all(&manager, &format!("@{name}"));
}

#[test]
fn a_service_manager_that_is_gone_stops_nobody() {
    let mut service = Service::start("/nowhere/notify");
    let failed = |line: &str| line.contains("the service manager cannot be told");
    assert!(service.log_until(failed).contains("\"listening\""));
    assert!(service.is_ready());
    service.signal("-TERM");
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}

fn told_all(manager: &UnixDatagram, socket: &str) {
    manager
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let next = || {
        let mut message = [0; 1024];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut service = Service::start(socket);
    assert_eq!(next(), "READY=1\nSTATUS=serving\n");
    let log = service.log_until(|line| line.contains("\"listening for operators\""));
    assert!(log.contains("\"listening\""), "{log}");
    assert!(service.is_ready());

    for _ in 0..2 {
        service.signal("-HUP");
        let reloading = next();
        let lines: Vec<&str> = reloading.lines().collect();
        assert_eq!(
            (lines[0], lines[2]),
            ("RELOADING=1", "STATUS=reloading"),
            "{reloading}"
        );
        let at: u64 = lines[1]
            .strip_prefix("MONOTONIC_USEC=")
            .unwrap()
            .parse()
            .unwrap();
        assert!(at > 0);
        assert_eq!(next(), "READY=1\nSTATUS=serving\n");
    }

    service.signal("-TERM");
    let draining = next();
    let lines: Vec<&str> = draining.lines().collect();
    assert_eq!(
        (lines[0], lines[2]),
        ("STOPPING=1", "STATUS=draining"),
        "{draining}"
    );
    let limit: u64 = lines[1]
        .strip_prefix("EXTEND_TIMEOUT_USEC=")
        .unwrap()
        .parse()
        .unwrap();
    // The defaults of drain_delay and drain_timeout are 25 s together.
    assert!((25_000_000..40_000_000).contains(&limit), "{draining}");
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}

/// The program, as it runs. Killed when dropped.
pub(crate) struct Service {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    admin: Option<String>,
}

impl Service {
    fn start(socket: &str) -> Self {
        let mut command = idemproxy();
        command
            .args([
                "run",
                "--upstream",
                "http://127.0.0.1:9",
                "--store",
                "memory:",
            ])
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .env("NOTIFY_SOCKET", socket);
        Self::of(&mut command)
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            log,
            admin: None,
        }
    }

    /// Its log from here to a line that `is_last`.
    pub(crate) fn log_until(&mut self, is_last: impl Fn(&str) -> bool) -> String {
        let mut log = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.log.read_line(&mut line).unwrap() > 0,
                "it ended:\n{log}"
            );
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["message"] == "listening for operators" {
                self.admin = event["address"].as_str().map(str::to_owned);
            }
            log.push_str(&line);
            if is_last(&line) {
                return log;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, and waits for its end.
    pub(crate) fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn is_ready(&self) -> bool {
        let admin = format!("http://{}", self.admin.as_ref().expect("it was told"));
        idemproxy()
            .args(["healthcheck", "--admin", &admin])
            .status()
            .unwrap()
            .success()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("/bin/kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Gone already, where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
