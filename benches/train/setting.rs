//! The proxies that are trained.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::Options;
use super::authority::Authority;
use super::client::Door;
use super::upstream::Upstream;
use super::visit::Visitor;
use crate::support::{Process, is_installed};

/// One way to run it.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    store: Store,
    /// Of clients and upstream.
    secure: bool,
    log_format: &'static str,
}

/// Where records are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Memory,
    Embedded,
    Redis,
}

impl Setting {
    /// The program that it needs and that is not installed.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        (self.store == Store::Redis && !is_installed("redis-server")).then_some("redis-server")
    }

    /// Starts a proxy, has all clients ask it at once, and ends it; how many requests it was.
    pub(crate) async fn train(&self, options: &Options, within: &Path) -> Result<usize, String> {
        let directory = within.join(self.name);
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let authority = self.secure.then(Authority::new);
        if let Some(authority) = &authority {
            authority.issue("own", &["127.0.0.1"]);
        }
        let upstream = Upstream::start(CLIENTS, authority.as_ref()).await;
        let upstream = Arc::new(upstream.map_err(|error| error.to_string())?);
        let redis = match self.store {
            Store::Redis => Some(Process::redis(&directory).await?),
            Store::Memory | Store::Embedded => None,
        };
        let store = match &redis {
            Some(redis) => format!("redis://{}/0", redis.address()),
            None if self.store == Store::Embedded => {
                format!("embedded:{}", directory.join("data").display())
            }
            None => "memory:".to_owned(),
        };
        let file = directory.join("idemproxy.toml");
        fs::write(&file, configuration(authority.as_ref())).map_err(|error| error.to_string())?;

        let log = directory.join("log");
        let scheme = if self.secure { "https" } else { "http" };
        let command = |listen: SocketAddr| {
            let mut command = Command::new(&options.program);
            command
                .arg("run")
                .arg("--config")
                .arg(&file)
                .args(["--admin", "127.0.0.1:0", "--service", "shop"])
                .args(["--store", &store])
                .args(["--upstream", &format!("{scheme}://{}", upstream.address())])
                // One event a request, as it is by default.
                .args(["--log", "info", "--log-format", self.log_format])
                .args(["--listen", &listen.to_string()]);
            Ok(command)
        };
        let proxy = match self.secure {
            // One that keeps its records in memory takes keys as soon as it listens.
            true => Process::start(&log, command).await?,
            false => Process::idemproxy(&log, command).await?,
        };

        let doors = Door::all(proxy.address(), authority.as_ref());
        let visits = (0..CLIENTS).map(|number| {
            let door = doors[number % doors.len()].clone();
            let visitor = Visitor::new(number, door, upstream.clone());
            async { visitor.await?.visit(options.rounds).await }
        });
        let visited = timeout(PATIENCE, try_join_all(visits)).await;
        let counts = visited.map_err(|_| "it takes too long".to_owned())??;
        proxy.end().await?;
        Ok(counts.into_iter().sum())
    }
}

/// What is no matter of flags.
fn configuration(authority: Option<&Authority>) -> String {
    let certificates = authority.map(|authority| {
        format!(
            "[server]\ntls_cert = '{}'\ntls_key = '{}'\n\n[upstream_connections]\nca_file = '{}'\n",
            authority.file("own.pem"),
            authority.file("own.key"),
            authority.file("ca.pem"),
        )
    });
    format!("{}{ROUTES}", certificates.unwrap_or_default())
}

const ROUTES: &str = r#"
[[route]]
path = "/checkouts"
key = ["json:/id"]
fingerprint = ["method", "path", "query", "json-body"]
fingerprint_ignore = ["/sent_at"]

[[route]]
path = "/slow/{*rest}"
in_flight = "wait"
"#;

/// All of them.
pub(crate) const SETTINGS: [Setting; 4] = [
    setting("memory", Store::Memory, false, "text"),
    setting("embedded", Store::Embedded, false, "text"),
    setting("Redis", Store::Redis, false, "json"),
    setting("HTTPS", Store::Memory, true, "json"),
];

const fn setting(
    name: &'static str,
    store: Store,
    secure: bool,
    log_format: &'static str,
) -> Setting {
    Setting {
        name,
        store,
        secure,
        log_format,
    }
}

/// How many ask at once.
const CLIENTS: usize = 8;
/// For one proxy. It takes some seconds; many more on a machine that is busy, or emulated.
const PATIENCE: Duration = Duration::from_secs(300);
