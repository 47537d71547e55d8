//! The floors: a module uses only floors below its own. And what else must not creep in.
#![allow(clippy::unwrap_used)]

mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, sources};

/// From the top; modules of one floor are strangers to each other.
const FLOORS: [&[&str]; 10] = [
    &["main"],
    &["app"],
    &["layer"],
    &["config"],
    &["downstream", "proxy", "admin"],
    &["upstream", "store"],
    &["telemetry", "wire", "tls"],
    &["idempotency"],
    &["fault"],
    &["lanes"],
];

/// Modules of the program and not of the library; together one floor.
const PROGRAM: [&str; 7] = [
    "main",
    "cli",
    "client",
    "explain",
    "healthcheck",
    "keys",
    "man",
];

#[test]
fn every_module_uses_only_floors_below_its_own() {
    let mut uses = 0;
    for source in in_rust() {
        let from = floor(&source.module);
        for (line, used) in source.uses() {
            if home(&used) == home(&source.module) {
                continue;
            }
            uses += 1;
            assert!(
                floor(&used) > from,
                "{}:{line}: {} uses {used}, which is not on a floor below it",
                source.path.display(),
                source.module,
            );
        }
    }
    assert!(uses > 50, "only {uses} uses between modules were seen");
}

#[test]
fn the_core_is_pure() {
    let impure = [
        "http::", "hyper", "tokio", "redis", "tracing", "std::net", "std::fs", "std::env", "::now(",
    ];
    for source in in_rust() {
        if source.module == "idempotency" {
            for word in impure {
                absent(&source, word, "the core is given everything it needs");
            }
        }
    }
}

#[test]
fn nothing_unwraps_outside_of_tests() {
    for source in in_rust() {
        absent(&source, ".unwrap()", "write an expect that says why");
    }
}

#[test]
fn nothing_names_a_directory_of_somebodys_machine() {
    let directories = ["root", "home", "Users", "work"].map(|name| format!("/{name}/"));
    let mut files = 0;
    for path in files_below(root()) {
        // What is no text has no words.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        files += 1;
        for directory in &directories {
            for (at, _) in text.match_indices(directory.as_str()) {
                // Within an address or a longer path it is another directory.
                let before = text[..at].chars().next_back();
                assert!(
                    before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c)),
                    "{}:{}: {directory}",
                    path.display(),
                    text[..at].lines().count(),
                );
            }
        }
    }
    assert!(files > 50, "only {files} files were seen");
}

fn in_rust() -> Vec<Source> {
    let sources = sources(&root().join("src"));
    assert!(sources.len() > 50, "only {} files were seen", sources.len());
    sources
}

/// The lowest floor has the highest number.
fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&home(module)))
        .unwrap_or_else(|| panic!("{module} has no floor"))
}

fn home(module: &str) -> &str {
    if PROGRAM.contains(&module) {
        "main"
    } else {
        module
    }
}

fn absent(source: &Source, word: &str, instead: &str) {
    if let Some(at) = source.code.find(word) {
        let (path, line) = (source.path.display(), source.line(at));
        panic!("{path}:{line}: {word}: {instead}");
    }
}

/// The files of the tree, as far as they are the tree's own.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let own = |path: &PathBuf| {
        !["target", ".git", "idemproxy-data"].contains(&path.file_name().unwrap().to_str().unwrap())
    };
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path()).filter(own);
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
