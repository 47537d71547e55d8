//! The program, as a process that is killed, frozen and started again.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// One process of the program at a time, always with the same configuration. Killed when dropped.
pub struct Proxy {
    program: String,
    directory: PathBuf,
    name: String,
    starts: usize,
    child: Option<Child>,
}

impl Proxy {
    /// Not started yet. Its configuration and logs are in `directory`, under `name`.
    pub fn new(program: &str, directory: &Path, name: &str, configuration: &str) -> Self {
        std::fs::write(directory.join(format!("{name}.toml")), configuration).unwrap();
        Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            name: name.to_owned(),
            starts: 0,
            child: None,
        }
    }

    /// Starts it, and waits until it listens; tells where. It inherits the environment.
    pub async fn start(&mut self) -> SocketAddr {
        self.starts += 1;
        let log = self
            .directory
            .join(format!("{}.{}.log", self.name, self.starts));
        let child = Command::new(&self.program)
            .args(["run", "--log-format", "json", "--log", "info", "--config"])
            .arg(self.directory.join(format!("{}.toml", self.name)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let text = std::fs::read_to_string(&log).unwrap();
            let address = text.lines().find_map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).ok()?;
                let listening = event["message"] == "listening";
                listening.then(|| event["address"].as_str()?.parse().ok())?
            });
            if let Some(address) = address {
                return address;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{} ended at its start: {status}\n{text}", self.name);
            }
            assert!(Instant::now() < give_up, "{} does not start", self.name);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL; false if it did not run.
    pub fn kill(&mut self) -> bool {
        let Some(mut child) = self.child.take() else {
            return false;
        };
        let ran = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        ran
    }

    /// Whether it runs; a crash of its own is one that nobody ordered.
    pub fn runs(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// SIGSTOP: it sleeps, and its sockets stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}
