//! The program itself, as a process that can be killed.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{Answer, Client, Request, get, patiently};

/// The program, with a configuration file, on ports of its own. Killed when dropped.
pub struct Process {
    address: SocketAddr,
    admin: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
    /// Where its configuration is.
    _directory: Option<TempDir>,
}

impl Process {
    /// Runs `program` with this configuration, whose `listen` and `admin.listen` have port 0, until it listens. `program`
    /// is `env!("CARGO_BIN_EXE_idemproxy")`, which only the test binary itself knows.
    pub async fn start(program: &str, toml: &str) -> Self {
        Self::start_with(program, toml, &[]).await
    }

    /// The same, with these environment variables, and those by which this process was told to have a fault.
    pub async fn start_with(program: &str, toml: &str, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let config = directory.path().join("idemproxy.toml");
        std::fs::write(&config, toml).unwrap();
        let flags = [("--config", config.to_str().unwrap())];
        let process = Self::with_flags(program, &flags, variables).await;
        Self {
            _directory: Some(directory),
            ..process
        }
    }

    /// Runs `program` with these flags, by which it listens on ports of its own.
    pub async fn with_flags(
        program: &str,
        flags: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(program)
            .args(["run", "--log-format", "json", "--log", LOG])
            .args(flags.iter().flat_map(|(name, value)| [name, value]))
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| HANDED_ON.contains(&name.as_str())))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (mut address, mut admin) = (None, None);
        while address.is_none() || admin.is_none() {
            let line = patiently(lines.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended:\n{}", log.lock().unwrap()));
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let place = || event["address"].as_str().unwrap().parse().ok();
            match event["message"].as_str() {
                Some("listening") => address = place(),
                Some("listening for operators") => admin = place(),
                _ => {}
            }
            log.lock().unwrap().push_str(&(line + "\n"));
        }
        let rest = log.clone();
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                rest.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let (address, admin) = (address.expect("told"), admin.expect("told"));
        let process = Self {
            address,
            admin,
            child,
            log,
            reading,
            _directory: None,
        };
        patiently(async { while process.page("/readyz").await.status != 200 {} }).await;
        process
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub async fn send(&self, request: &Request) -> Answer {
        Client::once(self.address, request).await
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A page of the operator's listener.
    pub async fn page(&self, path: &str) -> Answer {
        let mut page = get(path);
        page.fields = vec![("Host".to_owned(), self.admin.to_string().into_bytes())];
        Client::once(self.admin, &page).await
    }

    /// The value of a line of the metrics page; 0 where there is none.
    pub async fn metric(&self, line: &str) -> f64 {
        let page = self.page("/metrics").await.text();
        page.lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or(0.0)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// All that it logged, once it has ended.
    pub async fn whole_log(&mut self) -> String {
        patiently(&mut self.reading).await.unwrap();
        self.log()
    }

    /// SIGTERM.
    pub async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// SIGHUP: it reads its configuration again.
    pub async fn hang_up(&self) {
        self.signal("-HUP").await;
    }

    /// SIGSTOP: it sleeps, and its sockets stay open.
    pub async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// SIGCONT.
    pub async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until it ended by itself; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        patiently(self.child.wait()).await.unwrap().code()
    }

    async fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        let kill = Command::new("/bin/kill").args([signal, &pid]).status();
        assert!(kill.await.unwrap().success());
    }
}

/// Which faults are built in, where the program was built with the feature `faults`, and where it says so.
const HANDED_ON: [&str; 2] = ["IDEMPROXY_SEEDED_FAULT", "IDEMPROXY_FAULT_LOG"];

/// All that the program itself has to say.
const LOG: &str = "info,idemproxy=trace";
