//! The names of metrics: on the page, in the dashboard, in the alerts and in the docs.

use std::collections::BTreeSet;
use std::path::Path;

use idemproxy::telemetry::{Limit, Operation, Outcome};
use regex::Regex;

use crate::World;
use crate::support::*;

#[tokio::test]
async fn dashboard_and_alerts_use_what_is_on_the_page() {
    let page = page().await;
    let on_page: BTreeSet<&str> = page.lines().filter_map(sample).collect();
    for file in [
        "config/grafana/idemproxy.json",
        "config/prometheus/idemproxy.rules.yml",
    ] {
        let text = read(file);
        let used = names(&text);
        assert!(used.len() > 8, "{file}: {used:?}");
        for name in used {
            assert!(on_page.contains(&*name), "{file}: {name}\n{page}");
        }
    }
    serde_json::from_str::<serde_json::Value>(&read("config/grafana/idemproxy.json")).unwrap();
}

#[test]
fn dashboard_and_alerts_ask_for_labels_that_there_are() {
    let values = |label: &str| -> BTreeSet<&str> {
        match label {
            "outcome" => Outcome::ALL.iter().map(|value| value.as_str()).collect(),
            "limit" => Limit::ALL.iter().map(|value| value.as_str()).collect(),
            _ => Operation::ALL.iter().map(|value| value.as_str()).collect(),
        }
    };
    let matcher = Regex::new(r#"\b(outcome|limit|op)=~?\\?"([a-z_|]+)\\?""#).unwrap();
    let mut seen = 0;
    for file in [
        "config/grafana/idemproxy.json",
        "config/prometheus/idemproxy.rules.yml",
    ] {
        for found in matcher.captures_iter(&read(file)) {
            let known = values(&found[1]);
            for value in found[2].split('|') {
                assert!(known.contains(value), "{file}: {value}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} values were seen");
}

#[tokio::test]
async fn what_alerts_ask_of_a_route_is_on_the_page_before_there_is_any() {
    let world = World::start("[[route]]\nname = \"orders\"\npath = \"/orders\"\n", &[]).await;
    let page = world.proxy.page("/metrics").await.text();
    let rules = read("config/prometheus/idemproxy.rules.yml");
    let matcher = Regex::new(r#"\boutcome=~?"([a-z_|]+)""#).unwrap();
    let mut asked = 0;
    for found in matcher.captures_iter(&rules) {
        for outcome in found[1].split('|') {
            for route in ["default", "orders"] {
                let line = format!(
                    "idemproxy_requests_total{{route=\"{route}\",outcome=\"{outcome}\"}} 0"
                );
                assert!(page.lines().any(|found| found == line), "{line}\n{page}");
                asked += 1;
            }
        }
    }
    assert!(asked > 10, "only {asked} were asked for");
}

#[tokio::test]
async fn the_docs_tell_of_each_metric() {
    let page = page().await;
    let on_page: BTreeSet<&str> = page.lines().filter_map(family).collect();
    assert!(on_page.len() > 15, "{on_page:?}");
    let docs = read("docs/operations.md");
    let rows: String = docs
        .lines()
        .filter(|line| line.starts_with("| `idemproxy_"))
        .collect();
    let told = names(&rows);
    for name in &on_page {
        let is_told = |told: &String| {
            told == name || told.trim_end_matches("_total").trim_end_matches("_info") == *name
        };
        assert!(
            told.iter().any(is_told),
            "docs/operations.md does not tell of {name}"
        );
    }
    let samples: BTreeSet<&str> = page.lines().filter_map(sample).collect();
    for name in &told {
        let histogram = format!("{name}_count");
        let there = samples.contains(&**name) || samples.contains(&*histogram);
        assert!(
            there,
            "docs/operations.md tells of {name}, which is not on the page:\n{page}"
        );
    }
    let alerts = names(&read("README.md"));
    assert!(alerts.len() >= 5, "{alerts:?}");
    for name in &alerts {
        assert!(told.contains(name), "README.md tells of {name}");
    }
}

/// The page of a proxy with some traffic.
async fn page() -> String {
    let world = World::start("", &[]).await;
    for _ in 0..2 {
        world
            .proxy
            .send(&post("/orders/secret-path", "key-1", "a"))
            .await;
    }
    world.proxy.send(&get("/")).await;
    let page = world.proxy.page("/metrics").await.text();
    assert!(page.contains(r#"outcome="replayed"} 1"#), "{page}");
    assert!(
        !page.contains("secret") && !page.contains("key-1"),
        "{page}"
    );
    page
}

/// The name of a sample: what stands before its labels, or its value.
fn sample(line: &str) -> Option<&str> {
    let end = line.find(['{', ' '])?;
    (!line.starts_with('#')).then_some(&line[..end])
}

/// The name in `# TYPE name type`.
fn family(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.split(' ').next()
}

fn names(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\bidemproxy_[a-z_]+").unwrap();
    name.find_iter(text)
        .map(|found| found.as_str().to_owned())
        .collect()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}
