//! The proxies that are compared, each set up to do the same: pass requests on over kept connections, without an access log.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::process::Command;

use clap::ValueEnum;

use super::load::Path;
use super::options::Options;
use crate::support::installed::search_path;
use crate::support::{Process, is_installed};

/// What can be compared.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// nginx, passing on.
    Nginx,
    /// haproxy, passing on.
    Haproxy,
    /// idemproxy with the memory store.
    Memory,
    /// idemproxy with the embedded store, `sync = "always"`.
    Embedded,
    /// idemproxy with Redis.
    Redis,
}

/// One that runs.
pub(crate) struct System {
    pub(crate) kind: Kind,
    proxy: Process,
    /// Ended after the proxy.
    _redis: Option<Process>,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Nginx,
        Self::Haproxy,
        Self::Memory,
        Self::Embedded,
        Self::Redis,
    ];

    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Memory => "idemproxy, memory",
            Self::Embedded => "idemproxy, embedded",
            Self::Redis => "idemproxy, Redis",
        }
    }

    /// Whether it is idemproxy.
    pub(crate) const fn is_ours(self) -> bool {
        !matches!(self, Self::Nginx | Self::Haproxy)
    }

    /// What it is measured with. Passing through is the same with every store of ours: it is measured with `own` alone.
    pub(crate) fn paths(self, own: Option<Self>) -> &'static [Path] {
        match self.is_ours() {
            false => &[Path::PassThrough],
            true if own == Some(self) => &[Path::PassThrough, Path::First, Path::Replay],
            true => &[Path::First, Path::Replay],
        }
    }

    /// The program that it needs and that is not installed.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let program = match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Redis => "redis-server",
            Self::Memory | Self::Embedded => return None,
        };
        (!is_installed(program)).then_some(program)
    }
}

impl System {
    /// Starts it in a directory of its own below `directory`.
    pub(crate) async fn start(
        kind: Kind,
        directory: &FilePath,
        upstream: SocketAddr,
        options: &Options,
    ) -> Result<Self, String> {
        let directory = directory.join(kind.name().replace(", ", "-"));
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let log = directory.join("log");
        let workers = options.workers();
        let redis = match kind {
            Kind::Redis => Some(Process::redis(&directory).await?),
            _ => None,
        };
        let proxy = match kind {
            Kind::Nginx => {
                Process::start(&log, |listen| {
                    let config = directory.join("nginx.conf");
                    fs::write(&config, nginx(&directory, workers, listen, upstream))?;
                    Ok(command("nginx", [OsStr::new("-c"), config.as_ref()]))
                })
                .await?
            }
            Kind::Haproxy => {
                Process::start(&log, |listen| {
                    let config = directory.join("haproxy.cfg");
                    fs::write(&config, haproxy(workers, listen, upstream))?;
                    Ok(command(
                        "haproxy",
                        [OsStr::new("-db"), OsStr::new("-f"), config.as_ref()],
                    ))
                })
                .await?
            }
            Kind::Memory | Kind::Embedded | Kind::Redis => {
                let store = match &redis {
                    Some(redis) => format!("redis://{}/0", redis.address()),
                    None if kind == Kind::Embedded => {
                        format!("embedded:{}", directory.join("data").display())
                    }
                    None => "memory:".to_owned(),
                };
                Process::idemproxy(&log, |listen| {
                    Ok(idemproxy(&options.program, &store, listen, upstream))
                })
                .await?
            }
        };
        Ok(Self {
            kind,
            proxy,
            _redis: redis,
        })
    }

    /// The proxy itself.
    pub(crate) fn proxy(&self) -> &Process {
        &self.proxy
    }

    /// Processes that work for it, and are not counted.
    pub(crate) fn helper(&self) -> Option<&Process> {
        self._redis.as_ref()
    }
}

fn command<const N: usize>(program: &str, arguments: [&OsStr; N]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command.env("PATH", search_path());
    command
}

fn idemproxy(program: &FilePath, store: &str, listen: SocketAddr, upstream: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command
        .args(["run", "--admin", "127.0.0.1:0", "--log", "warn"])
        .args(["--service", "bench", "--store", store])
        .args(["--listen", &listen.to_string()])
        .args(["--upstream", &format!("http://{upstream}")]);
    command
}

fn nginx(directory: &FilePath, workers: usize, listen: SocketAddr, upstream: SocketAddr) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {}/{name};\n", directory.display()))
        .concat();
    format!(
        "daemon off;
worker_processes {workers};
pid {directory}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
{temporary}    keepalive_requests 1000000000;
    upstream api {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
",
        directory = directory.display()
    )
}

fn haproxy(workers: usize, listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
    nbthread {workers}
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend clients
    bind {listen}
    default_backend api
backend api
    server api {upstream} pool-max-conn 1024
"
    )
}
