//! What users copy from: every configuration in the tree, and every one in the README, is one that the program takes.
#![allow(clippy::unwrap_used)]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/tokens.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use idemproxy::config::{self, Given, Overrides};

#[test]
fn every_configuration_in_the_tree_is_valid() {
    let files = [toml_files("config"), toml_files("docker")].concat();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        // Where docker/compose.yaml mounts it, another file of the tree is.
        let toml = fs::read_to_string(&file).unwrap();
        let toml = toml.replace("/etc/idemproxy/admin.token", "docker/admin.token");
        let name = file.display().to_string();
        if let Err(faults) = config::from_toml(&name, &toml, &Overrides::default()) {
            panic!("{faults}");
        }
    }
}

#[test]
fn every_configuration_in_the_readme_is_valid() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let snippets: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!snippets.is_empty());
    // A snippet shows what it is about, so the upstream may be missing.
    let upstream = Overrides {
        upstream: Some(Given::new("the test", "http://127.0.0.1:3000")),
        ..Overrides::default()
    };
    // Keys are read when the configuration is.
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("jwks.json");
    fs::write(&keys, tokens::Issuer::new().key_set(&["rsa"])).unwrap();
    let authority = authority::Authority::new();
    authority
        .issue("server", &["server"])
        .issue("proxy", &["proxy"]);
    for snippet in snippets {
        let mut snippet = snippet.replace("jwks.json", keys.to_str().unwrap());
        for name in ["server.pem", "server.key", "proxy.pem", "proxy.key"] {
            snippet = snippet.replace(
                &format!("\"{name}\""),
                &format!("\"{}\"", authority.file(name)),
            );
        }
        for name in ["clients.pem", "api-ca.pem", "redis-ca.pem"] {
            snippet = snippet.replace(
                &format!("\"{name}\""),
                &format!("\"{}\"", authority.file("ca.pem")),
            );
        }
        let snippet = &snippet;
        if let Err(faults) = config::from_toml("README.md", snippet, &upstream) {
            panic!("{faults}\nin\n{snippet}");
        }
    }
}

#[test]
fn every_file_that_the_readme_links_to_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let links: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .collect();
    assert!(!links.is_empty());
    for link in links {
        assert!(root().join(link).exists(), "README.md links to {link}");
    }
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
