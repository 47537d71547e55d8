//! What users copy from: every configuration in the tree, and every one in the README and docs/, is one that the program takes.
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
fn every_configuration_in_the_readme_and_the_docs_is_valid() {
    let pages = pages();
    let snippets: Vec<(&str, &str)> = pages
        .iter()
        .flat_map(|(name, text)| {
            let rests = text.split("```toml\n").skip(1);
            rests.filter_map(|rest| Some((name.as_str(), rest.split("```").next()?)))
        })
        .collect();
    assert!(snippets.len() >= 5, "{snippets:?}");
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
    for (name, snippet) in snippets {
        let mut snippet = snippet.replace("jwks.json", keys.to_str().unwrap());
        for file in ["server.pem", "server.key", "proxy.pem", "proxy.key"] {
            snippet = snippet.replace(
                &format!("\"{file}\""),
                &format!("\"{}\"", authority.file(file)),
            );
        }
        for file in ["clients.pem", "api-ca.pem", "redis-ca.pem"] {
            snippet = snippet.replace(
                &format!("\"{file}\""),
                &format!("\"{}\"", authority.file("ca.pem")),
            );
        }
        let snippet = &snippet;
        if let Err(faults) = config::from_toml(name, snippet, &upstream) {
            panic!("{faults}\nin\n{snippet}");
        }
    }
}

#[test]
fn every_link_of_the_readme_and_the_docs_leads_somewhere() {
    let mut followed = 0;
    for (name, text) in pages() {
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&name),
                _ => root().join(&name).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{name} links to {link}");
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target).unwrap());
                let is_there = anchors.iter().any(|there| there == anchor);
                assert!(is_there, "{name} links to {link}, of {anchors:?}");
            }
            followed += 1;
        }
    }
    assert!(followed > 30, "only {followed} links");
}

/// The README and docs/*.md, by their paths in the tree.
fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    ["README.md".to_owned()]
        .into_iter()
        .chain(docs.filter(|name| name.ends_with(".md")))
        .map(|name| {
            let text = fs::read_to_string(root().join(&name)).unwrap();
            (name, text)
        })
        .collect()
}

/// What a link may name in a page: its headings, as GitHub spells them.
fn anchors(page: &str) -> Vec<String> {
    // A line of a code block may begin with # as well, and is no heading.
    let prose = page.split("```").step_by(2);
    prose
        .flat_map(str::lines)
        .filter(|line| line.starts_with('#'))
        .map(|heading| {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            words
                .chars()
                .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
                .map(|letter| if letter == ' ' { '-' } else { letter })
                .collect()
        })
        .collect()
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
