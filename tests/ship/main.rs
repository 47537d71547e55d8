//! What is shipped beside the program: its manual page and completions, and the files by which systemd, Docker and Kubernetes run
//! it. Those are held against what the program takes and does.
#![allow(clippy::unwrap_used)]

mod compose;
mod kubernetes;
mod manual;
mod notify;
mod started;
mod unit;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use idemproxy::config::{self, Overrides, Settings};

/// The program, with none of its variables set.
fn idemproxy() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idemproxy"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IDEMPROXY_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A configuration that stands in another file, or in one that is mounted: `mounts` tells what is where.
fn settings(name: &str, toml: &str, mounts: &[(&str, &Path)]) -> Settings {
    let mut toml = toml.to_owned();
    for (there, here) in mounts {
        assert!(toml.contains(there), "{name}: nothing of {there} is used");
        toml = toml.replace(there, here.to_str().unwrap());
    }
    config::from_toml(name, &toml, &Overrides::default())
        .unwrap_or_else(|faults| panic!("{faults}\n{toml}"))
}

/// How long the program takes to stop, at most: the drain, and a few last seconds.
fn stop(settings: &Settings) -> Duration {
    settings.server.drain_delay + settings.server.drain_timeout + Duration::from_secs(5)
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
