//! What a server says of itself (`INFO`), and what follows from it.

use std::time::Duration;

use ::redis::{Value, cmd};

use super::failure::Failure;
use super::line::{Line, Patience};

/// What a server says of itself. What it did not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// `7.0.15`.
    pub(super) version: Option<String>,
    /// Which process, and which history of writes it holds.
    pub(super) identity: Option<Identity>,
    /// Whether it follows another server, and may not be written to.
    pub(super) replica: bool,
    /// What it does when its memory is full.
    pub(super) policy: Option<String>,
    /// Whether its memory is full.
    pub(super) full: bool,
    /// Records and other keys it dropped for want of memory since it started.
    pub(super) evicted: u64,
    /// Whether it keeps an append-only file.
    pub(super) append_only: bool,
    /// When it saves snapshots (`CONFIG GET save`); empty is never. That command is often forbidden.
    pub(super) snapshots: Option<String>,
    /// Its wall clock, since 1970.
    pub(super) time: Option<Duration>,
}

/// Which process, and which history of writes it holds. A failover or a restart makes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    run: String,
    history: String,
}

impl Facts {
    /// Asks a server about itself; all but `snapshots`.
    pub(super) async fn ask(line: &Line, patience: Patience) -> Result<Self, Failure> {
        match line.ask(&cmd("INFO"), patience).await {
            Ok(Value::BulkString(info)) => Ok(Self::read(&String::from_utf8_lossy(&info))),
            Ok(_) => Ok(Self::default()),
            // Forbidden, or renamed away.
            Err(Failure::Refused(code)) if code == "NOPERM" || code == "ERR" => Ok(Self::default()),
            Err(failure) => Err(failure),
        }
    }

    /// Reads the reply to `INFO`.
    pub(super) fn read(info: &str) -> Self {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim_end().to_owned())
        };
        let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
        let limit = number("maxmemory").unwrap_or_default();
        Self {
            version: field("redis_version"),
            identity: field("run_id").map(|run| Identity {
                run,
                history: field("master_replid").unwrap_or_default(),
            }),
            replica: field("role").is_some_and(|role| role == "slave"),
            policy: field("maxmemory_policy"),
            full: limit > 0 && number("used_memory").is_some_and(|used| used >= limit),
            evicted: number("evicted_keys").unwrap_or_default(),
            append_only: field("aof_enabled").is_some_and(|enabled| enabled == "1"),
            snapshots: None,
            time: number("server_time_usec").map(Duration::from_micros),
        }
    }

    /// Whether it knows `SET NX GET` and flags of scripts (7.0). One that does not tell is taken at its best: an
    /// older one refuses what it does not know, and nothing is claimed.
    pub(super) fn modern(&self) -> bool {
        let major = self
            .version
            .as_deref()
            .and_then(|version| version.split('.').next());
        major
            .and_then(|major| major.parse::<u32>().ok())
            .is_none_or(|major| major >= 7)
    }

    /// The policy under which it may drop records, if it has one.
    pub(super) fn evicts(&self) -> Option<&str> {
        self.policy
            .as_deref()
            .filter(|policy| *policy != "noeviction")
    }

    /// What an operator should know, a line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match &self.version {
            Some(version) if self.modern() => notes.push(format!("version {version}")),
            Some(version) => notes.push(format!(
                "version {version}, before 7.0: claims by script, and on a full server nothing can be settled"
            )),
            None => notes.push("INFO is forbidden: version, eviction policy and restarts cannot be seen".to_owned()),
        }
        if let Some(policy) = self.evicts() {
            notes.push(format!(
                "maxmemory-policy {policy}: it may drop records, and their keys run again"
            ));
        }
        if self.full {
            notes.push("its memory is full: no new claims, settlements go on".to_owned());
        }
        if self.evicted > 0 {
            notes.push(format!(
                "it has evicted {} keys since it started",
                self.evicted
            ));
        }
        if !self.append_only && self.version.is_some() {
            notes.push(match self.snapshots.as_deref() {
                Some("") => "no persistence: a restart forgets every key".to_owned(),
                _ => "no append-only file: a crash forgets the keys since the last snapshot"
                    .to_owned(),
            });
        }
        notes
    }
}

/// Asks a server when it saves snapshots.
pub(super) async fn ask_snapshots(
    line: &Line,
    patience: Patience,
) -> Result<Option<String>, Failure> {
    let save = cmd("CONFIG").arg("GET").arg("save").to_owned();
    match line.ask(&save, patience).await {
        Ok(Value::Array(pair)) => Ok(match pair.into_iter().nth(1) {
            Some(Value::BulkString(save)) => Some(String::from_utf8_lossy(&save).into_owned()),
            _ => None,
        }),
        Ok(_) | Err(Failure::Refused(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\nused_memory:900\r\nmaxmemory:0\r\n\
        maxmemory_policy:noeviction\r\naof_enabled:1\r\nevicted_keys:0\r\nrole:master\r\nmaster_replid:def\r\n";

    #[test]
    fn a_good_server_has_nothing_but_a_version_to_say() {
        let facts = Facts::read(INFO);
        assert!(facts.modern() && !facts.replica && facts.evicts().is_none());
        assert_eq!(facts.notes(), ["version 7.0.15"]);
    }

    #[test]
    fn what_weakens_the_guarantee_is_said() {
        let info = INFO
            .replace("noeviction", "allkeys-lru")
            .replace("maxmemory:0", "maxmemory:800")
            .replace("aof_enabled:1", "aof_enabled:0")
            .replace("evicted_keys:0", "evicted_keys:7")
            .replace("7.0.15", "6.2.1");
        let facts = Facts::read(&info);
        assert!(!facts.modern() && facts.full);
        assert_eq!(facts.evicts(), Some("allkeys-lru"));
        assert_eq!(facts.notes().len(), 5, "{:?}", facts.notes());
    }

    #[test]
    fn another_process_or_another_history_is_another_server() {
        let first = Facts::read(INFO).identity;
        assert_eq!(first, Facts::read(INFO).identity);
        assert_ne!(first, Facts::read(&INFO.replace("abc", "abd")).identity);
        assert_ne!(first, Facts::read(&INFO.replace("def", "deg")).identity);
    }

    #[test]
    fn a_server_that_says_nothing_is_said_to() {
        let facts = Facts::default();
        assert!(facts.modern() && facts.identity.is_none());
        assert!(facts.notes()[0].contains("INFO is forbidden"));
    }
}
