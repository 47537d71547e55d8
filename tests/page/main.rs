//! The operators' page, as a browser shows it and an operator works with it: scenarios in a headless Chromium, by Playwright.
//!
//! `prepare` installs Playwright into `target/page`, pinned, at the first run. `run` plays the scenarios by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by an unwrap")]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn an_operator_sees_and_settles_records_in_a_browser() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let prepared = Command::new(here.join("prepare"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    if !prepared.status.success() {
        assert!(std::env::var_os("CI").is_none(), "{NOT_PREPARED}");
        println!("skipped: {NOT_PREPARED}");
        return;
    }
    let told = String::from_utf8(prepared.stdout).unwrap();
    let (python, chromium) = told.trim().split_once('\n').unwrap();
    let played = Command::new(python)
        .arg("-B")
        .arg(here.join("scenarios.py"))
        .args([env!("CARGO_BIN_EXE_idemproxy"), chromium])
        .status()
        .unwrap();
    assert!(played.success(), "see the scenarios that failed above");
}

const NOT_PREPARED: &str = "the page could not be tried in a browser, which takes Python 3 with venv, Chromium (on Debian: apt-get install \
                            python3-venv chromium) and PyPI; see what tests/page/prepare says";
