#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::reference::Reference;
use super::shapes::{Shape, keys};
use super::*;
use crate::config::reader::Source;
use crate::config::{Fault, Given, Overrides, file, from_toml};

/// Keys that are absent by default; every other one has its default in `config/idemproxy.toml`.
const ABSENT: &[(&str, &str)] = &[
    ("admin", "token_file"),
    ("store", "secret_file"),
    ("store", "encryption_keys"),
    ("store", "ca_file"),
    ("store", "cert_file"),
    ("store", "key_file"),
    ("server", "tls_cert"),
    ("server", "tls_key"),
    ("server", "tls_client_ca"),
    ("upstream_connections", "ca_file"),
    ("upstream_connections", "cert_file"),
    ("upstream_connections", "key_file"),
    ("errors", "body"),
    ("errors", "content_type"),
    ("jwt", "keys"),
    ("jwt", "secret_file"),
    ("jwt", "algorithms"),
    ("jwt", "issuer"),
    ("jwt", "audience"),
    ("policy.probe", "path"),
    ("policy.replay_check", "path"),
    ("policy.response", "status"),
    ("policy.response", "json"),
    ("policy.response", "header"),
    ("policy.response", "outcome"),
    ("policy.response", "retention"),
    ("policy.response", "reply_status"),
    ("policy.response", "reply_from"),
];

/// Sections of which this version has nothing yet.
const EMPTY: &[&str] = &[];

fn upstream_given() -> Overrides {
    Overrides {
        upstream: Some(Given::new("the test", "http://127.0.0.1:3000")),
        ..Overrides::default()
    }
}

/// Section and key of all that the reader takes; a route's own tables are those of the policy.
fn taken() -> BTreeSet<(String, String)> {
    let source = Source::new("f", "[[policy.response]]\n[[route]]\n[[route.response]]\n");
    source.read(|root| file::read(root, &upstream_given()));
    let asked = source.asked.borrow();
    let place = |(section, key): &(String, &str)| {
        let section = match section.strip_prefix("route.") {
            Some(below) => format!("policy.{below}"),
            None => section.clone(),
        };
        (section, (*key).to_owned())
    };
    asked.iter().map(place).collect()
}

/// Section and key of all that the schema has, and the shape of those that are settings.
fn in_schema() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let mut sections = vec![""];
    let mut found = Vec::new();
    while let Some(section) = sections.pop() {
        for (key, shape) in keys(section) {
            let shape = match shape {
                Shape::Is(shape) => Some(shape),
                Shape::Table(section) | Shape::Tables(section) => {
                    sections.push(section);
                    None
                }
            };
            if !found.contains(&(section, key, shape.clone())) {
                found.push((section, key, shape));
            }
        }
    }
    found
}

#[test]
fn the_schema_has_the_keys_that_the_reader_takes() {
    let of_schema: BTreeSet<(String, String)> = in_schema()
        .into_iter()
        .map(|(section, key, _)| (section.to_owned(), key.to_owned()))
        .collect();
    let taken = taken();
    assert!(taken.len() > 60, "{taken:?}");
    let only = |these: &BTreeSet<_>, those: &BTreeSet<_>| these - those;
    let missing = only(&taken, &of_schema);
    assert!(
        missing.is_empty(),
        "keys that are read and that the schema lacks: say what they may be in src/config/schema/shapes.rs: {missing:?}"
    );
    let unread = only(&of_schema, &taken);
    assert!(
        unread.is_empty(),
        "keys that nothing reads: take them out of src/config/schema/shapes.rs: {unread:?}"
    );
}

#[test]
fn the_reference_says_of_every_key_what_it_is_for_and_its_default() {
    let reference = Reference::read();
    for (section, key, shape) in in_schema() {
        let policys = section == "route" && reference.entry("policy", key).is_some();
        let Some(shape) = shape else {
            let table = match section {
                "" => key.to_owned(),
                "route" => format!("policy.{key}"),
                _ => format!("{section}.{key}"),
            };
            assert!(
                reference.section(&table).is_some() || EMPTY.contains(&key),
                "config/idemproxy.toml has no [{table}]"
            );
            continue;
        };
        let Some(entry) = reference.entry(section, key) else {
            assert!(
                policys,
                "config/idemproxy.toml does not name `{key}` in [{section}]: write it there, with its default or, where it has none, \
                 commented out with an example, below a comment that says what it is for"
            );
            continue;
        };
        assert!(
            !entry.description.is_empty(),
            "config/idemproxy.toml does not say what `{key}` in [{section}] is for"
        );
        assert!(
            entry.is_set
                || ["route", "errors.detail"].contains(&section)
                || shape.get("default").is_some()
                || ABSENT.contains(&(section, key)),
            "config/idemproxy.toml does not set `{key}` in [{section}] to its default; if it has none, name it in ABSENT here"
        );
    }
}

#[test]
fn what_is_commented_out_is_set_to_its_default_too() {
    let upstream = upstream_given();
    for (section, key) in [("probe", "path"), ("replay_check", "path")] {
        let table = format!("policy.{section}");
        let bare = format!("[{table}]\n{key} = \"/\"\n");
        let mut full = bare.clone();
        let schema = schema();
        let properties = &schema["properties"]["policy"]["properties"][section]["properties"];
        for (name, shape) in properties.as_object().unwrap() {
            if let Some(default) = shape.get("default") {
                full += &format!("{name} = {default}\n");
            }
        }
        assert!(full.lines().count() > bare.lines().count());
        assert_eq!(
            from_toml("", &full, &upstream).unwrap(),
            from_toml("", &bare, &upstream).unwrap(),
            "{full}"
        );
        let reference = Reference::read();
        for (name, shape) in properties.as_object().unwrap() {
            if let Some(default) = shape.get("default") {
                let written = &reference.entry(&table, name).unwrap().value;
                assert_eq!(written, default, "config/idemproxy.toml: {table}.{name}");
            }
        }
    }
}

/// What the reader says that it expects of a key, given something that nobody means.
fn expected(section: &str, key: &str, shape: &Value) -> String {
    let wrong = match shape.get("type").and_then(Value::as_str) {
        Some("array") => r#"[""]"#,
        Some("object") => r#"{ "" = [] }"#,
        _ => r#""""#,
    };
    let heading = match section {
        "" => "# The top.".to_owned(),
        "route" | "policy.response" => format!("[[{section}]]"),
        _ => format!("[{section}]"),
    };
    // No key takes a date.
    let here = [wrong, "1979-05-27"].into_iter().find_map(|wrong| {
        let text = format!("{heading}\n{key} = {wrong}\n");
        let faults = from_toml("f", &text, &Overrides::default()).unwrap_err();
        let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
        told.into_iter().find(|fault| fault.starts_with("f:2:"))
    });
    let here = here.unwrap_or_else(|| panic!("{section}.{key} takes anything"));
    here.split_once("expected ").unwrap().1.to_owned()
}

#[test]
fn the_schema_takes_what_the_reader_says_that_it_expects() {
    let (mut words, mut ranges) = (0, 0);
    for (section, key, shape) in in_schema() {
        let Some(shape) = shape else { continue };
        let expected = expected(section, key, &shape);
        let item = shape.get("items").unwrap_or(&shape);
        let validator = jsonschema::validator_for(item).unwrap();
        let quoted: Vec<String> = expected
            .split('"')
            .skip(1)
            .step_by(2)
            .map(|word| {
                word.replace("NAME", "X-Name")
                    .replace("CLAIM", "sub")
                    .replace("PATTERN", "[a-z]+")
            })
            .collect();
        let free =
            item["type"] == "object" || (item["type"] == "integer" && expected.contains("size"));
        for word in quoted.iter().filter(|_| !free) {
            words += 1;
            assert!(
                validator.is_valid(&json!(word)),
                "the reader takes {word:?} for `{key}` in [{section}] ({expected}), and the schema does not: see src/config/schema/shapes.rs"
            );
        }
        if let Some(named) = item.get("enum").and_then(Value::as_array) {
            let named: BTreeSet<&str> = named.iter().filter_map(Value::as_str).collect();
            let quoted: BTreeSet<&str> = quoted.iter().map(String::as_str).collect();
            assert_eq!(
                named, quoted,
                "`{key}` in [{section}]: the schema, and the reader"
            );
        }
        if let (Some(range), true) = (
            expected.strip_prefix("a whole number from "),
            item.get("minimum").is_some(),
        ) {
            ranges += 1;
            let told = format!("{} to {}", item["minimum"], item["maximum"]);
            assert_eq!(
                told, range,
                "`{key}` in [{section}]: the schema, and the reader"
            );
        }
    }
    assert!(words > 60 && ranges > 5, "{words} words, {ranges} ranges");
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn json(toml: &str) -> Value {
    let table: toml::Table = toml::from_str(toml).unwrap();
    serde_json::to_value(table).unwrap()
}

#[track_caller]
fn is_valid(validator: &jsonschema::Validator, toml: &str) {
    let json = json(toml);
    let faults: Vec<String> = validator
        .iter_errors(&json)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert_eq!(faults, [""; 0], "{toml}");
}

#[test]
fn the_schema_is_one_and_takes_every_configuration_in_the_tree() {
    jsonschema::meta::validate(&schema()).unwrap();
    let validator = validator();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for folder in ["config", "docker"] {
        // Not every build has the images.
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                files += 1;
                is_valid(&validator, &fs::read_to_string(path).unwrap());
            }
        }
    }
    assert!(files > 0);
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    for page in docs.chain([root.join("README.md")]) {
        let text = fs::read_to_string(page).unwrap();
        let snippets = text.split("```toml\n").skip(1);
        for snippet in snippets.filter_map(|rest| rest.split("```").next()) {
            is_valid(&validator, snippet);
        }
    }
}

#[test]
fn the_schema_takes_what_the_reader_takes_however_it_is_written() {
    let validator = validator();
    for good in [
        "listen = \"[::]:80\"",
        "admin = { listen = \"off\" }",
        "admin.listen = \"0.0.0.0:1\"\nadmin.token_file = \"tests/admin/token\"\nadmin.hosts = [\"idemproxy.internal\"]",
        "[store]\nurl = \"memory:\"\ntimeout = \"1s 500ms\"\nmax_bytes = 4294967296",
        "[store]\nurl = \"redis+cluster://u:p@h:1,g\"\nmax_bytes = \"4 gib\"\n[policy]\nlease = \"0.5m\"",
        "[server]\ndrain_delay = \"0\"\ntrust_forwarded = [\"10.0.0.0/8\", \"::1\", \"private\"]",
        "[policy]\nkey = [\"json:/a/b\", \"content\"]\nretention = \"1day 2hours\"\nkey_format = \"regex:a|b\"",
        "[policy]\nmax_request_body = \"none\"\nretry = { jitter = 1, on = [] }",
        "[policy]\nmax_request_body = 10\nretry.jitter = 0.5",
        "[[policy.response]]\nstatus = \"500-599\"\njson = { \"/a\" = 1.5, \"/b\" = true }\noutcome = \"release\"",
        "[[route]]\npath = \"/a/{b}/{*rest}\"\nmethods = [\"PROPFIND\"]\nprobe = { path = \"/o/{key}\", found = \"200\" }\nunknown_outcome = \"probe\"",
        "[[route]]\npath = \"/\"\nupstream = \"HTTPS://h:1/\"\nretention = \"7d\"\n[[route.response]]\nheader = { Server = \"envoy\" }\noutcome = \"unknown\"\nreply_status = 500",
    ] {
        let service = "service = \"s\"\n";
        let text = format!("{service}{good}");
        if let Err(faults) = from_toml("f", &text, &upstream_given()) {
            panic!("{faults}\n{good}");
        }
        is_valid(&validator, &text);
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses_of_one_setting() {
    let validator = validator();
    for wrong in [
        "lisetn = \"127.0.0.1:1\"",
        "listen = 8080",
        "listen = \"localhost:80\"",
        "upstream = \"ftp://h\"",
        "upstream = \"http://h/a\"",
        "service = \"\"",
        "store = 1",
        "[store]\nurl = \"embeded:x\"",
        "[store]\ntimeout = 500",
        "[store]\ntimeout = \"500\"",
        "[store]\ntimeout = \"1 fortnight\"",
        "[store]\nsync = \"sometimes\"",
        "[store]\nmax_bytes = \"4 GB of disk\"",
        "[store]\nwait_replicas = -1",
        "[store]\nallow_eviction = \"no\"",
        "[server]\nmax_connections = 0",
        "[policy]\nretension = \"1h\"",
        "[policy]\nmethods = []",
        "[policy]\nmethods = \"POST\"",
        "[policy]\nmethods = [\"post\"]",
        "[policy]\nkey = [\"headers:A\"]",
        "[policy]\nkey_format = \"uuid5\"",
        "[policy]\nscope = [\"path\", \"path\"]",
        "[policy]\nlease = \"30 s ago\"",
        "[policy]\nwait_timeoutt = \"30s\"",
        "[policy.retry]\njitter = 1.5",
        "[policy]\nretry = { attempt = 3 }",
        "[policy]\nprobe = { path = \"/o\", afterr = \"1m\" }",
        "[[policy.response]]\noutcome = \"store\"",
        "[[policy.response]]\nstatus = \"409\"",
        "[[policy.response]]\nstatus = 409\noutcome = \"store\"",
        "[[policy.response]]\njson = { \"a\" = 1 }\noutcome = \"store\"",
        "[[policy.response]]\njson = { \"/a\" = [] }\noutcome = \"store\"",
        "[[policy.response]]\nstatus = \"409\"\noutcome = \"store\"\nreply_status = 204",
        "[[route]]\nname = \"a\"",
        "[[route]]\npath = \"orders\"",
        "[[route]]\npath = \"/\"\nlisten = \"127.0.0.1:1\"",
        "[route]\npath = \"/\"",
    ] {
        assert!(from_toml("f", wrong, &upstream_given()).is_err(), "{wrong}");
        assert!(!validator.is_valid(&json(wrong)), "{wrong}");
    }
}
