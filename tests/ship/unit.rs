//! The service for systemd.

use std::time::Duration;

use super::{read, settings, stop};

#[test]
fn the_service_waits_for_a_drain_with_the_default_times() {
    let defaults = settings("", "upstream = \"http://127.0.0.1:3000\"", &[]);
    let patience = value("TimeoutStopSec")
        .strip_suffix('s')
        .unwrap()
        .parse()
        .unwrap();
    assert!(Duration::from_secs(patience) > stop(&defaults));
}

#[test]
fn the_service_is_told_what_the_program_tells_and_takes() {
    for (key, expected) in [
        ("Type", "notify"),
        (
            "ExecStart",
            "/usr/local/bin/idemproxy run --config /etc/idemproxy/idemproxy.toml",
        ),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("KillSignal", "SIGTERM"),
        ("RestartPreventExitStatus", "2"),
        ("StartLimitIntervalSec", "0"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
    ] {
        assert_eq!(value(key), expected, "{key}");
    }
    let files: u64 = value("LimitNOFILE").parse().unwrap();
    let server = settings("", "upstream = \"http://127.0.0.1:3000\"", &[]).server;
    assert!(files > 2 * server.max_connections as u64);
}

fn value(key: &str) -> String {
    let unit = read("config/systemd/idemproxy.service");
    let start = format!("{key}=");
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(&start));
    let value = values.next().unwrap_or_else(|| panic!("no {key}"));
    value.to_owned()
}
