//! A real redis-server, of the test's own.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A real redis-server on 127.0.0.1, killed when dropped. Without persistence, unless its arguments say otherwise.
pub struct RedisServer {
    port: u16,
    second_port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server, and waits until it answers.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with further arguments (`["--maxmemory", "4mb"]`), and waits until it answers.
    pub fn with(arguments: &[&str]) -> Self {
        for _ in 0..100 {
            let mut server = Self::absent(arguments);
            if server.try_start() {
                return server;
            }
        }
        panic!("no redis-server came up");
    }

    /// Starts a server that needs a second port, named by this argument (`--cluster-port`).
    pub fn on_two_ports(name: &str, arguments: &[&str]) -> Self {
        for _ in 0..100 {
            let mut server = Self::absent(arguments);
            // Each change of a cluster is synced to the disk, and the node stands still meanwhile.
            if let Ok(in_memory) = TempDir::new_in("/dev/shm") {
                server.directory = in_memory;
            }
            server.second_port = free_port();
            server
                .arguments
                .extend([name.to_owned(), server.second_port.to_string()]);
            if server.second_port != server.port && server.try_start() {
                return server;
            }
        }
        panic!("no redis-server came up");
    }

    /// A server that is not started yet, with a port that is free.
    pub fn absent(arguments: &[&str]) -> Self {
        Self {
            port: free_port(),
            second_port: 0,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            directory: TempDir::new().unwrap(),
            child: None,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its second port; 0 where it has none.
    pub fn second_port(&self) -> u16 {
        self.second_port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Where it keeps its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills it, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Frozen or not.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it on the same port and directory, and waits until it answers; kills it first where it runs.
    pub fn restart(&mut self) {
        self.stop();
        assert!(
            self.try_start(),
            "redis-server did not come up again on port {}",
            self.port
        );
    }

    /// Stops it in its tracks (SIGSTOP): the kernel goes on accepting for it, and nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Runs a command over a connection of its own.
    pub fn try_command(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }

    /// Runs a command that must succeed.
    pub fn command(&self, words: &[&str]) -> redis::Value {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The bytes at a key.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        redis::from_redis_value(self.command(&["GET", key])).unwrap()
    }

    fn try_start(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--daemonize", "no", "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let child = self.child.insert(child);
        let pid = child.id().to_string();
        let give_up = Instant::now() + Duration::from_secs(20);
        while Instant::now() < give_up {
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            // Its own process, not another that took the port.
            if let Ok(redis::Value::BulkString(info)) = self.try_command(&["INFO", "server"])
                && String::from_utf8_lossy(&info).contains(&format!("process_id:{pid}\r"))
                && self.try_command(&["PING"]).is_ok()
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server does not answer on port {}", self.port);
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port below the ephemeral range: an outgoing connection would take one of those while a server restarts. None is given twice:
/// sentinels would take a stranger for the server that they lost.
pub(super) fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().hash_one(0) % 20_000) as u16;
        let unused = GIVEN.lock().unwrap().insert(port);
        if unused && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
