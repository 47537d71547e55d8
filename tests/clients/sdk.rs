//! A client of somebody else's making, in a process of its own.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

/// What a client of an API is, and what its API says.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// Its script, without the suffix.
    pub name: &'static str,
    /// What stands before the number in the ids that its API gives.
    pub prefix: &'static str,
    /// What an answer of its API holds besides the id.
    pub object: &'static str,
    /// It is a vendor's own: it finds its keys itself, and obeys a word that it should not retry.
    pub vendor: bool,
    /// It tells the id of what was made.
    pub tells_id: bool,
}

/// What the client said of one call.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Said {
    pub ok: bool,
    pub id: Option<String>,
    pub status: Option<u16>,
    /// The class of the error, and what it says: for the report of a failure.
    #[expect(dead_code, reason = "read by Debug")]
    pub error: Option<String>,
    #[expect(dead_code, reason = "read by Debug")]
    pub text: Option<String>,
}

/// The programs to run clients with.
#[derive(Clone, Debug)]
pub struct Programs {
    python: PathBuf,
    node: PathBuf,
    modules: PathBuf,
}

/// A client's process. Killed when dropped.
pub struct Sdk {
    pub api: Api,
    stdin: tokio::sync::Mutex<ChildStdin>,
    calls: AtomicU64,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Said>>>>,
    _child: Child,
}

impl Api {
    /// What the API answers when it has done what was asked.
    pub fn made(&self, number: usize) -> Vec<u8> {
        let mut object: Value = serde_json::from_str(self.object).unwrap();
        object["id"] = self.id(number).into();
        object.to_string().into_bytes()
    }

    /// The id of what the upstream's nth request made.
    pub fn id(&self, number: usize) -> String {
        format!("{}_{number}", self.prefix)
    }

    /// What the API answers when it refuses: every one of them shows it as an error.
    pub fn refused(&self, status: u16) -> Vec<u8> {
        let error = json!({"type": "api_error", "code": "refused", "message": "no"});
        let document = json!({"error": error, "errors": error, "message": "no", "status": status});
        document.to_string().into_bytes()
    }
}

impl Programs {
    /// Installs the clients where that is not done yet. None where it cannot be done, which is said; in CI that is a failure.
    pub fn prepare() -> Option<Self> {
        let into = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients");
        let prepared = std::process::Command::new(here().join("prepare"))
            .arg(&into)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        if !prepared.status.success() {
            assert!(std::env::var_os("CI").is_none(), "{NOT_PREPARED}");
            println!("skipped: {NOT_PREPARED}");
            return None;
        }
        let told = String::from_utf8(prepared.stdout).unwrap();
        let (python, node) = told.trim().split_once('\n').unwrap();
        Some(Self {
            python: python.into(),
            node: node.into(),
            modules: into.join("node_modules"),
        })
    }
}

impl Sdk {
    pub fn start(programs: &Programs, api: Api) -> Self {
        let (program, suffix) = if api.name.ends_with("node") {
            (&programs.node, "js")
        } else {
            (&programs.python, "py")
        };
        let mut child = Command::new(program)
            .arg(here().join("sdk").join(api.name).with_extension(suffix))
            .env_clear()
            .env("NODE_PATH", &programs.modules)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(
                "PYTHONPYCACHEPREFIX",
                programs.modules.with_file_name("pycache"),
            )
            .env("NO_PROXY", OsStr::new("*"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Said>>>> = Arc::default();
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let hearing = waiting.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let said: Value = serde_json::from_str(&line).unwrap_or_default();
                let call = said["call"].as_u64().unwrap_or_default();
                let waiting = hearing.lock().unwrap().remove(&call);
                if let (Some(waiting), Ok(said)) = (waiting, serde_json::from_value(said)) {
                    let _ = waiting.send(said);
                }
            }
            // It ended: whoever waits learns it.
            hearing.lock().unwrap().clear();
        });
        Self {
            api,
            stdin: tokio::sync::Mutex::new(child.stdin.take().expect("piped")),
            calls: AtomicU64::new(0),
            waiting,
            _child: child,
        }
    }

    /// One call, with `retries` where the client can be told their number. Without a `key` the client finds one.
    pub async fn call(&self, url: &str, key: Option<&str>, name: &str, retries: u32) -> Said {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (send, said) = oneshot::channel();
        self.waiting.lock().unwrap().insert(call, send);
        let line = json!({"call": call, "url": url, "key": key, "name": name, "retries": retries});
        let line = format!("{line}\n");
        let mut stdin = self.stdin.lock().await;
        stdin.write_all(line.as_bytes()).await.unwrap();
        drop(stdin);
        let said = tokio::time::timeout(PATIENCE, said).await;
        said.unwrap_or_else(|_| panic!("{} never came back", self.api.name))
            .unwrap_or_else(|_| panic!("{} ended", self.api.name))
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Far beyond all the pauses that a client makes between its tries.
const PATIENCE: Duration = Duration::from_secs(90);

const NOT_PREPARED: &str = "the clients could not be installed, which takes Python 3 with venv (on Debian: apt-get install \
                            python3-venv), PyPI and npm; see what tests/clients/prepare says";
