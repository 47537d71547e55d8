//! The examples in `config/examples`, each run as it is written, with clients that retry the way theirs do.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

#[path = "../support/harness.rs"]
mod support;

mod api;
mod batches;
mod browser;
mod confirm;
mod duplicate_creates;
mod mesh;
mod offline_first;
mod queue;
mod world;

/// Every example has its tests.
#[test]
fn no_example_is_left_out() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let tested = [
        "batches",
        "browser",
        "confirm",
        "duplicate-creates",
        "mesh",
        "offline-first",
        "queue",
    ];
    assert_eq!(names, tested.map(|name| format!("{name}.toml")));
}
