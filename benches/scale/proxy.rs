//! The proxies that are measured.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use super::Bench;
use crate::support::{Process, usage};

/// Where one keeps its records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Embedded,
    Redis,
}

/// One that runs.
pub(crate) struct Proxy {
    process: Process,
    /// Ended after the proxy.
    pub(crate) redis: Option<Process>,
}

impl Store {
    /// Those that there are here.
    pub(crate) fn all(bench: &Bench<'_>) -> Vec<Self> {
        let redis = bench.redis.then_some(Self::Redis);
        [Self::Memory, Self::Embedded]
            .into_iter()
            .chain(redis)
            .collect()
    }

    /// Redis, or where there is none the store without a disk.
    pub(crate) fn shared(bench: &Bench<'_>) -> Self {
        if bench.redis {
            Self::Redis
        } else {
            Self::Memory
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Embedded => "embedded",
            Self::Redis => "Redis",
        }
    }
}

impl Proxy {
    /// Starts one with this store, empty, and these lines more in its configuration. `name` is unique.
    pub(crate) async fn start(
        bench: &Bench<'_>,
        name: &str,
        store: Store,
        configuration: &str,
    ) -> Result<Self, String> {
        let directory = bench.directory.join(name);
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let redis = match store {
            Store::Redis => Some(Process::redis(&directory).await?),
            Store::Memory | Store::Embedded => None,
        };
        let url = match &redis {
            Some(redis) => format!("redis://{}/0", redis.address()),
            None if store == Store::Embedded => {
                format!("embedded:{}", directory.join("data").display())
            }
            None => "memory:".to_owned(),
        };
        let file = directory.join("idemproxy.toml");
        fs::write(&file, configuration).map_err(|error| error.to_string())?;
        let upstream = format!("http://{}", bench.upstream.address());
        let start = |listen: SocketAddr| {
            let mut command = Command::new(&bench.options.program);
            command
                .arg("run")
                .arg("--config")
                .arg(&file)
                .args(["--admin", "127.0.0.1:0", "--log", "error"])
                .args(["--service", "bench", "--store", &url])
                .args(["--upstream", &upstream])
                .args(["--listen", &listen.to_string()]);
            Ok(command)
        };
        Ok(Self {
            process: Process::idemproxy(&directory.join("log"), start).await?,
            redis,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Processor time that it used, microseconds.
    pub(crate) fn used(&self) -> f64 {
        usage::group(self.process.id())
    }

    /// Memory, MiB: all that is resident, and what of it is not the program itself.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let id = self.process.id();
        (usage::resident(id), usage::own_memory(id))
    }
}
