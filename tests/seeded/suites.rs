//! The test binaries of the other suites.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// Test binaries, by the name of their suite; `lib` is that of the unit tests.
pub struct Suites(BTreeMap<&'static str, PathBuf>);

/// What came of a run.
pub struct Run {
    pub output: String,
    /// What the faults said of themselves.
    pub said: String,
    pub took: Duration,
}

impl Suites {
    /// Builds them as this one was built, and asks cargo where they are.
    pub fn build(names: &[&'static str]) -> Self {
        let names: BTreeSet<_> = names.iter().copied().collect();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--locked", "--features", "faults", "--no-run"])
            .args(["--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit());
        for name in &names {
            match *name {
                "lib" => cargo.arg("--lib"),
                name => cargo.args(["--test", name]),
            };
        }
        let built = cargo.output().unwrap();
        assert!(built.status.success(), "the suites do not build");
        let messages = String::from_utf8(built.stdout).unwrap();
        let mut binaries = BTreeMap::new();
        for line in messages.lines() {
            let message: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let Some(path) = message["executable"].as_str() else {
                continue;
            };
            let target = &message["target"];
            let name = match target["kind"][0].as_str() {
                Some("lib") => "lib",
                Some("test") => target["name"].as_str().unwrap(),
                _ => continue,
            };
            if let Some(name) = names.get(name) {
                binaries.insert(*name, PathBuf::from(path));
            }
        }
        assert_eq!(binaries.len(), names.len(), "{binaries:?}");
        Self(binaries)
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }

    /// Runs exactly these tests of a suite, with a fault or without.
    pub fn run(&self, suite: &str, tests: &BTreeSet<&str>, fault: Option<&str>) -> Run {
        let log = NamedTempFile::new().unwrap();
        let output = NamedTempFile::new().unwrap();
        let began = Instant::now();
        let mut child = Command::new(&self.0[suite])
            .arg("--exact")
            .args(tests)
            .env("IDEMPROXY_FAULT_LOG", log.path())
            .env("IDEMPROXY_SEEDED_FAULT", fault.unwrap_or_default())
            .env("IDEMPROXY_CRASH_ROUNDS", "2")
            .env("RUST_BACKTRACE", "0")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(appending(&output))
            .stderr(appending(&output))
            .process_group(0)
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > LONGEST {
                // It hangs, and with it the servers that it has started. What it has written tells that it did not end.
                let group = format!("-{}", child.id());
                let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
                assert!(killed.unwrap().success());
                child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let text = |file: &NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
        Run {
            took: began.elapsed(),
            output: text(&output),
            said: text(&log),
        }
    }
}

/// Two that write to one file must not write over each other.
fn appending(file: &NamedTempFile) -> File {
    File::options().append(true).open(file.path()).unwrap()
}

/// A check that takes longer than this is none.
const LONGEST: Duration = Duration::from_secs(60);
