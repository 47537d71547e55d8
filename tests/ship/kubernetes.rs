//! The manifests for Kubernetes, as far as they can be wrong about the program.

use std::fs;
use std::time::Duration;

use idemproxy::config::Settings;
use idemproxy::store::Location;
use tempfile::TempDir;
use yaml_rust2::Yaml;

use super::yaml::{documents, files, list, texts};
use super::{settings, stop};

#[test]
fn every_proxy_has_a_configuration_that_the_program_takes_and_time_to_drain() {
    for manifest in manifests() {
        let (settings, pod) = (&manifest.settings, &manifest.pod);
        let grace = &pod["terminationGracePeriodSeconds"];
        let grace = Duration::from_secs(grace.as_i64().unwrap().try_into().unwrap());
        // A sidecar is stopped after what waits in its preStop.
        let waited = list(&pod["containers"]).iter();
        let waited =
            waited.filter_map(|other| other["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64());
        let waited = Duration::from_secs(waited.max().unwrap_or(0).try_into().unwrap());
        assert!(grace > waited + stop(settings), "{}", manifest.path);
        // Several Pods, one truth about a key.
        assert!(
            matches!(settings.store.location, Location::Redis(_)),
            "{}",
            manifest.path
        );
    }
}

#[test]
fn probes_ask_the_pages_of_the_admin_listener_where_it_listens() {
    for manifest in manifests() {
        let Manifest {
            path,
            container,
            settings,
            ..
        } = &manifest;
        let admin = settings.admin.as_ref().unwrap().listen;
        assert!(
            admin.ip().is_unspecified() && settings.listen.ip().is_unspecified(),
            "{path}"
        );
        let ports = list(&container["ports"]);
        let port = |name: &str| {
            let named = ports
                .iter()
                .find(|port| port["name"].as_str() == Some(name));
            named.unwrap_or_else(|| panic!("{path}: no port {name}"))["containerPort"].as_i64()
        };
        assert_eq!(port("admin"), Some(admin.port().into()), "{path}");
        assert!(
            ports
                .iter()
                .any(|port| port["containerPort"].as_i64() == Some(settings.listen.port().into())),
            "{path}"
        );
        for (probe, page) in [
            ("startupProbe", "/readyz"),
            ("readinessProbe", "/readyz"),
            ("livenessProbe", "/livez"),
        ] {
            let asked = &container[probe]["httpGet"];
            assert_eq!(
                (asked["path"].as_str(), asked["port"].as_str()),
                (Some(page), Some("admin")),
                "{path}: {probe}"
            );
        }
    }
}

#[test]
fn a_proxy_has_no_rights_and_memory_for_what_it_may_hold() {
    for Manifest {
        path,
        pod,
        container,
        settings,
    } in manifests()
    {
        let security = &container["securityContext"];
        assert_eq!(
            security["allowPrivilegeEscalation"].as_bool(),
            Some(false),
            "{path}"
        );
        assert_eq!(
            security["readOnlyRootFilesystem"].as_bool(),
            Some(true),
            "{path}"
        );
        assert_eq!(texts(&security["capabilities"]["drop"]), ["ALL"], "{path}");
        assert_eq!(
            pod["securityContext"]["runAsNonRoot"].as_bool(),
            Some(true),
            "{path}"
        );
        assert_eq!(
            pod["securityContext"]["runAsUser"].as_i64(),
            Some(65532),
            "{path}"
        );
        assert_eq!(
            pod["automountServiceAccountToken"].as_bool(),
            Some(false),
            "{path}"
        );
        // IDEMPROXY_SERVICE_HOST and its like would be there.
        assert_eq!(pod["enableServiceLinks"].as_bool(), Some(false), "{path}");
        let memory = container["resources"]["limits"]["memory"].as_str().unwrap();
        let memory: u64 = memory.strip_suffix("Mi").unwrap().parse().unwrap();
        assert!(
            memory << 20 >= 2 * settings.server.max_buffered_total,
            "{path}"
        );
    }
}

#[test]
fn a_sidecar_outlives_the_api_beside_it() {
    let manifests = manifests();
    let sidecar = manifests
        .iter()
        .find(|manifest| manifest.path.ends_with("sidecar.yaml"))
        .unwrap();
    assert_eq!(sidecar.container["restartPolicy"].as_str(), Some("Always"));
    let first = &list(&sidecar.pod["initContainers"])[0];
    assert_eq!(first, &sidecar.container);
}

#[test]
fn a_change_of_the_configuration_arrives_in_running_pods() {
    for manifest in manifests() {
        assert!(manifest.settings.reload.watch, "{}", manifest.path);
    }
}

#[test]
fn a_sidecars_pod_is_ready_when_the_api_answers_through_the_proxy() {
    let manifests = manifests();
    let sidecar = manifests
        .iter()
        .find(|manifest| manifest.path.ends_with("sidecar.yaml"))
        .unwrap();
    let api = &list(&sidecar.pod["containers"])[0];
    for probe in ["startupProbe", "readinessProbe"] {
        let port = api[probe]["httpGet"]["port"].as_i64();
        assert_eq!(port, Some(sidecar.settings.listen.port().into()), "{probe}");
    }
}

#[test]
fn only_prometheus_may_connect_to_the_port_of_operators() {
    for Manifest { path, .. } in manifests() {
        let documents = documents(&path);
        let of_kind = |kind: &str| {
            let mut found = documents
                .iter()
                .filter(|document| document["kind"].as_str() == Some(kind));
            found.next().unwrap_or_else(|| panic!("{path}: no {kind}"))
        };
        let policy = &of_kind("NetworkPolicy")["spec"];
        assert!(texts(&policy["policyTypes"]).contains(&"Ingress"), "{path}");
        let labels = &of_kind("Deployment")["spec"]["template"]["metadata"]["labels"];
        let name = "app.kubernetes.io/name";
        assert!(labels[name].as_str().is_some(), "{path}");
        assert_eq!(
            policy["podSelector"]["matchLabels"][name], labels[name],
            "{path}"
        );
        let mut admin = 0;
        for rule in list(&policy["ingress"]) {
            let ports = list(&rule["ports"]);
            // A rule without ports is one for all of them.
            assert!(!ports.is_empty(), "{path}");
            if ports
                .iter()
                .any(|port| port["port"].as_str() == Some("admin"))
            {
                assert_eq!(list(&rule["from"]).len(), 1, "{path}");
                admin += 1;
            }
        }
        assert_eq!(admin, 1, "{path}");
    }
}

#[test]
fn the_monitors_find_each_proxy_and_its_port() {
    let monitors = documents("config/kubernetes/podmonitors.yaml");
    let manifests = manifests();
    assert_eq!(monitors.len(), manifests.len());
    for Manifest {
        path, container, ..
    } in &manifests
    {
        let documents = documents(path);
        let mut deployments = documents
            .iter()
            .filter(|document| document["kind"].as_str() == Some("Deployment"));
        let labels = &deployments.next().unwrap()["spec"]["template"]["metadata"]["labels"];
        let name = "app.kubernetes.io/name";
        let monitor = monitors
            .iter()
            .find(|monitor| monitor["spec"]["selector"]["matchLabels"][name] == labels[name])
            .unwrap_or_else(|| panic!("{path}: nobody scrapes it"));
        let endpoint = &list(&monitor["spec"]["podMetricsEndpoints"])[0];
        assert_eq!(endpoint["path"].as_str(), Some("/metrics"));
        let mut ports = list(&container["ports"]).iter();
        assert!(ports.any(|port| port["name"] == endpoint["port"]), "{path}");
        // The alert that it is gone goes by this.
        assert!(
            monitor["metadata"]["name"]
                .as_str()
                .unwrap()
                .contains("idemproxy")
        );
    }
}

#[test]
fn redis_keeps_every_record_that_it_acknowledged() {
    let documents = documents("config/kubernetes/redis.yaml");
    let set = documents
        .iter()
        .find(|document| document["kind"].as_str() == Some("StatefulSet"))
        .unwrap();
    let container = &list(&set["spec"]["template"]["spec"]["containers"])[0];
    let args = texts(&container["args"]);
    for setting in [
        ["--appendonly", "yes"],
        ["--appendfsync", "always"],
        ["--maxmemory-policy", "noeviction"],
    ] {
        assert!(args.windows(2).any(|words| words == setting), "{setting:?}");
    }
    assert_eq!(list(&set["spec"]["volumeClaimTemplates"]).len(), 1);
}

/// A proxy in one of the files.
struct Manifest {
    path: String,
    pod: Yaml,
    container: Yaml,
    settings: Settings,
}

/// Of all files; each but that of Redis has one.
fn manifests() -> Vec<Manifest> {
    let directory = TempDir::new().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "of-the-test").unwrap();
    let mut manifests = Vec::new();
    for path in files("config/kubernetes") {
        let documents = documents(&path);
        for document in documents
            .iter()
            .filter(|document| document["kind"].as_str() == Some("Deployment"))
        {
            let pod = &document["spec"]["template"]["spec"];
            let mut containers = list(&pod["initContainers"])
                .iter()
                .chain(list(&pod["containers"]));
            let container = containers
                .find(|container| container["name"].as_str() == Some("idemproxy"))
                .unwrap();
            assert_eq!(
                texts(&container["args"])[..3],
                ["run", "--config", "/etc/idemproxy/idemproxy.toml"],
                "{path}"
            );
            let toml = configuration(&documents, pod);
            let settings = settings(&path, toml, &[("/etc/idemproxy/admin/token", &token)]);
            let (pod, container) = (pod.clone(), container.clone());
            manifests.push(Manifest {
                path: path.clone(),
                pod,
                container,
                settings,
            });
        }
    }
    assert_eq!(manifests.len(), 2);
    manifests
}

/// Of the ConfigMap that the Pod mounts.
fn configuration<'a>(documents: &'a [Yaml], pod: &Yaml) -> &'a str {
    let volumes = list(&pod["volumes"]).iter();
    let mut sources = volumes.flat_map(|volume| list(&volume["projected"]["sources"]));
    let map = sources
        .find_map(|source| source["configMap"]["name"].as_str())
        .unwrap();
    let mut maps = documents
        .iter()
        .filter(|document| document["kind"].as_str() == Some("ConfigMap"));
    let map = maps
        .find(|document| document["metadata"]["name"].as_str() == Some(map))
        .unwrap();
    map["data"]["idemproxy.toml"].as_str().unwrap()
}
