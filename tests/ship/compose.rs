//! The compose files and the image.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use yaml_rust2::Yaml;

use super::yaml::{documents, files, list, seconds, texts};
use super::{read, root, settings, stop};

#[test]
fn compose_files_let_the_proxy_drain_and_run_it_with_nothing_it_does_not_need() {
    let mut proxies = 0;
    for path in compose_files() {
        let compose = &documents(&path)[0];
        let proxy = &compose["services"]["idemproxy"];
        let (name, toml) = configuration(compose);
        let token = root().join("docker/admin.token");
        let mounts = [("/etc/idemproxy/admin.token", token.as_path())];
        let mounts = if toml.contains("token_file") {
            &mounts[..]
        } else {
            &[]
        };
        let settings = settings(&name, &toml, mounts);
        assert!(
            seconds(&proxy["stop_grace_period"]) > stop(&settings),
            "{path}"
        );
        assert_eq!(proxy["read_only"].as_bool(), Some(true), "{path}");
        assert_eq!(texts(&proxy["cap_drop"]), ["ALL"], "{path}");
        let admin = settings.admin.unwrap().listen;
        // As the image's health check asks for it.
        assert_eq!(admin.port(), 9090, "{path}");
        proxies += 1;
    }
    assert_eq!(proxies, 2);
}

#[test]
fn compose_files_keep_every_record_that_redis_acknowledged() {
    for path in compose_files() {
        let compose = &documents(&path)[0];
        let command = texts(&compose["services"]["redis"]["command"]);
        for setting in [
            ["--appendonly", "yes"],
            ["--appendfsync", "always"],
            ["--maxmemory-policy", "noeviction"],
        ] {
            assert!(
                command.windows(2).any(|words| words == setting),
                "{path}: {setting:?}"
            );
        }
        assert!(
            !list(&compose["services"]["redis"]["volumes"]).is_empty(),
            "{path}"
        );
    }
}

#[test]
fn what_compose_files_mount_is_in_the_tree() {
    let mut mounted = 0;
    for path in compose_files() {
        let compose = &documents(&path)[0];
        let volumes: HashSet<&str> = keys(&compose["volumes"]).collect();
        for service in keys(&compose["services"]) {
            for volume in texts(&compose["services"][service]["volumes"]) {
                let source = volume.split(':').next().unwrap();
                mounted += 1;
                if source.starts_with('.') {
                    assert!(
                        root().join("docker").join(source).exists(),
                        "{path}: {source}"
                    );
                } else {
                    assert!(volumes.contains(source), "{path}: {source}");
                }
            }
        }
    }
    assert!(mounted >= 8, "only {mounted}");
}

#[test]
fn nobody_waits_for_a_health_that_nobody_checks() {
    let mut waits = 0;
    for path in compose_files() {
        let services = &documents(&path)[0]["services"];
        for service in keys(services) {
            for other in keys(&services[service]["depends_on"]) {
                let condition = services[service]["depends_on"][other]["condition"].as_str();
                if condition == Some("service_healthy") {
                    // The proxy's check is the image's own.
                    let checked =
                        !services[other]["healthcheck"].is_badvalue() || other == "idemproxy";
                    assert!(checked, "{path}: {service} waits for {other}");
                    waits += 1;
                }
            }
        }
    }
    assert!(waits >= 4, "only {waits}");
}

#[test]
fn the_image_is_checked_and_stopped_by_what_the_program_knows() {
    let dockerfile = read("docker/Dockerfile");
    for line in [
        "USER 65532:65532",
        "STOPSIGNAL SIGTERM",
        "    CMD [\"/usr/local/bin/idemproxy\", \"healthcheck\"]",
        "ENTRYPOINT [\"/usr/local/bin/idemproxy\"]",
        "CMD [\"run\", \"--listen\", \"0.0.0.0:8080\"]",
    ] {
        assert!(dockerfile.lines().any(|found| found == line), "{line}");
    }
    let toolchain = format!("ARG BUILDER=rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(dockerfile.contains(&toolchain), "{toolchain}");
}

#[test]
fn the_image_is_built_from_all_that_the_program_includes() {
    let (dockerfile, ignored) = (read("docker/Dockerfile"), read(".dockerignore"));
    let mut folders = vec![root().join("src")];
    let mut outside = HashSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let includes = text.split("include_").skip(1);
                let names =
                    includes.filter_map(|rest| rest.split_once("!(\"")?.1.split('"').next());
                let files = names.map(|name| folder.join(name).canonicalize().unwrap());
                outside.extend(files.filter(|file| !file.starts_with(root().join("src"))));
            }
        }
    }
    assert!(!outside.is_empty());
    for file in outside {
        let file = file.strip_prefix(root()).unwrap().to_str().unwrap();
        assert!(dockerfile.contains(&format!("\nCOPY {file} ")), "{file}");
        assert!(
            ignored.lines().any(|line| line == format!("!{file}")),
            "{file}"
        );
    }
}

#[test]
fn the_image_can_be_trained_by_all_that_the_training_includes() {
    let ignored = read(".dockerignore");
    let lets_in = |name: &str| ignored.lines().any(|line| line == format!("!{name}"));
    assert!(lets_in("benches"));
    let training = read("benches/train/main.rs");
    let shared = training.split("#[path = \"../../").skip(1);
    let shared: Vec<_> = shared.filter_map(|rest| rest.split('"').next()).collect();
    assert!(!shared.is_empty());
    for file in shared {
        assert!(root().join(file).is_file() && lets_in(file), "{file}");
    }
    let script = root().join("benches/train/build");
    let mode = fs::metadata(script).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "the image and benches/run start it");
}

fn compose_files() -> impl Iterator<Item = String> {
    files("docker")
        .into_iter()
        .filter(|path| path.contains("/compose."))
}

/// Name and text of the proxy's configuration, which stands in the compose file or is mounted from beside it.
fn configuration(compose: &Yaml) -> (String, String) {
    let command = texts(&compose["services"]["idemproxy"]["command"]);
    assert_eq!(
        command,
        ["run", "--config", "/etc/idemproxy/idemproxy.toml"]
    );
    match compose["configs"]["idemproxy"]["content"].as_str() {
        Some(toml) => ("compose.chaos.yaml".to_owned(), toml.to_owned()),
        None => {
            let mounts = texts(&compose["services"]["idemproxy"]["volumes"]);
            assert!(mounts.contains(&"./idemproxy.toml:/etc/idemproxy/idemproxy.toml:ro"));
            (
                "docker/idemproxy.toml".to_owned(),
                read("docker/idemproxy.toml"),
            )
        }
    }
}

fn keys(yaml: &Yaml) -> impl Iterator<Item = &str> {
    let entries = yaml.as_hash().into_iter().flatten();
    entries.map(|(key, _)| key.as_str().unwrap())
}
