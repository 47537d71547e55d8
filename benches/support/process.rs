//! Programs that a bench starts.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;

use super::installed::search_path;
use super::{Requests, Wire};

/// A program that listens on 127.0.0.1, in a process group of its own, which is ended when this is dropped.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Starts what `command` makes of a free port, and waits until it listens there. What it says is in `log`.
    ///
    /// Nobody keeps the port free meanwhile: where it was taken, another one is tried.
    pub(crate) async fn start(
        log: &Path,
        command: impl Fn(SocketAddr) -> io::Result<Command>,
    ) -> Result<Self, String> {
        let mut tries = 3;
        loop {
            tries -= 1;
            let started = Self::start_on(free_port(), log, &command).await;
            if started.is_ok() || tries == 0 {
                return started;
            }
        }
    }

    /// Starts idemproxy, and waits until it takes keys.
    pub(crate) async fn idemproxy(
        log: &Path,
        command: impl Fn(SocketAddr) -> io::Result<Command>,
    ) -> Result<Self, String> {
        let mut process = Self::start(log, command).await?;
        let mut requests = Requests::with_new_keys("is-it-ready");
        let end = Instant::now() + PATIENCE;
        loop {
            let asked = async {
                Wire::connect(process.address)
                    .await?
                    .ask(requests.next())
                    .await
            };
            match asked.await {
                Ok(201) => return Ok(process),
                _ if process.has_ended() || Instant::now() > end => return Err(process.complaint()),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Starts redis-server, without persistence: what it spends on its disk is not the proxy's.
    pub(crate) async fn redis(directory: &Path) -> Result<Self, String> {
        Self::start(&directory.join("redis.log"), |listen| {
            let mut command = Command::new("redis-server");
            command
                .env("PATH", search_path())
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--port", &listen.port().to_string()])
                .arg("--dir")
                .arg(directory);
            Ok(command)
        })
        .await
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id, which is its group's.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said last, for an error.
    pub(crate) fn complaint(&self) -> String {
        format!("it does not serve:\n{}", self.last_words())
    }

    /// Asks it to end, and waits until it has, as it should: what a program writes at its end is there then.
    pub(crate) async fn end(mut self) -> Result<(), String> {
        let asked = kill_process_group(Pid::from_child(&self.child), Signal::TERM);
        asked.map_err(|error| error.to_string())?;
        let end = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(None) if Instant::now() < end => tokio::time::sleep(PAUSE).await,
                _ => return Err(format!("it did not end well:\n{}", self.last_words())),
            }
        }
    }

    async fn start_on(
        address: SocketAddr,
        log: &Path,
        command: &impl Fn(SocketAddr) -> io::Result<Command>,
    ) -> Result<Self, String> {
        let spawn = || {
            let file = File::create(log)?;
            command(address)?
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .process_group(0)
                .spawn()
        };
        let mut process = Self {
            child: spawn().map_err(|error| error.to_string())?,
            address,
            log: log.to_owned(),
        };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            if process.has_ended() || Instant::now() > end {
                return Err(process.complaint());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(process)
    }

    fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(12).collect();
        let last: Vec<_> = lines.into_iter().rev().collect();
        last.join("\n")
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        // A group that is gone needs no signal. Asked first, so that a server can end its workers.
        let _ = kill_process_group(group, Signal::TERM);
        let end = Instant::now() + Duration::from_secs(3);
        while !self.has_ended() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// One below those that the system gives out: a program under valgrind takes seconds before it listens.
fn free_port() -> SocketAddr {
    loop {
        let port = 10_000 + (RandomState::new().hash_one(0) % 20_000) as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("it is bound");
        }
    }
}

/// For how long a program may start; under valgrind it takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
