//! Over TLS: who is believed, who is let in, and that all servers that a URL leads to are spoken to so.

use std::process::{Child, Command, Stdio};

use idemproxy::store::{Inserted, Redis, RedisSetupError, Store, StoreError, StoreSettings};
use idemproxy::tls::ClientFiles;

use crate::authority::Authority;
use crate::records::*;
use crate::support::{RedisServer, eventually};

const PASSWORD: &str = "hunter2";

/// A server on a plain port and a TLS port, which shows a certificate for these names.
fn server(authority: &Authority, names: &[&str], further: &[&str]) -> RedisServer {
    authority.issue("server", names);
    let arguments = tls(authority);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(further);
    RedisServer::on_two_ports("--tls-port", &arguments)
}

fn tls(authority: &Authority) -> Vec<String> {
    ["ca-cert", "cert", "key"]
        .into_iter()
        .zip(["ca.pem", "server.pem", "server.key"])
        .flat_map(|(name, file)| [format!("--tls-{name}-file"), authority.file(file)])
        .collect()
}

fn url(server: &RedisServer) -> String {
    format!("rediss://127.0.0.1:{}", server.second_port())
}

fn trusting(authority: &Authority) -> StoreSettings {
    StoreSettings {
        timeout: std::time::Duration::from_secs(10),
        tls: ClientFiles {
            ca_file: Some(authority.path("ca.pem")),
            cert_file: None,
            key_file: None,
        },
        ..settings()
    }
}

fn showing(authority: &Authority, identity: &str) -> StoreSettings {
    let mut settings = trusting(authority);
    settings.tls.cert_file = Some(authority.path(&format!("{identity}.pem")));
    settings.tls.key_file = Some(authority.path(&format!("{identity}.key")));
    settings
}

/// It is not reached, it says why, and claims are refused: nothing was sent.
async fn is_refused(url: &str, settings: &StoreSettings, why: &[&str]) {
    let store = Redis::connect(url, settings).await.unwrap();
    eventually("it says why", || async {
        let notes = store.health().notes.join("\n");
        assert!(!notes.contains(PASSWORD), "{notes}");
        println!("{notes}");
        why.iter().any(|why| notes.contains(why))
    })
    .await;
    assert!(!store.health().up);
    let refused = store.insert(id(1), &claim()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
    assert!(!refused.to_string().contains(PASSWORD), "{refused}");
}

async fn works(url: &str, settings: &StoreSettings) -> Redis {
    let store = Redis::connect(url, settings).await.unwrap();
    eventually("it is well", || async {
        println!("{:?}", store.health().notes);
        store.health().up
    })
    .await;
    let claimed = store.insert(id(1), &claim()).await;
    assert_eq!(claimed, Ok(Inserted::Created), "{:?}", store.health());
    store
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_its_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let known = server(&authority, &["127.0.0.1"], &["--tls-auth-clients", "no"]);
    known.command(&["CONFIG", "SET", "requirepass", PASSWORD]);
    let with_password = url(&known).replace("://", &format!("://:{PASSWORD}@"));
    works(&with_password, &trusting(&authority)).await;
    is_refused(&with_password, &trusting(&stranger), &["UnknownIssuer"]).await;

    let misnamed = server(
        &authority,
        &["other.example"],
        &["--tls-auth-clients", "no"],
    );
    let by_another_name = ["NotValidForName", "not valid for name"];
    is_refused(&url(&misnamed), &trusting(&authority), &by_another_name).await;
    let localhost = server(&authority, &["localhost"], &["--tls-auth-clients", "no"]);
    let named = url(&localhost).replace("127.0.0.1", "localhost");
    works(&named, &trusting(&authority)).await;
}

#[tokio::test]
async fn a_server_that_asks_for_certificates_lets_in_those_it_knows() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("proxy", &["proxy"]);
    stranger.issue("proxy", &["proxy"]);
    let server = server(&authority, &["127.0.0.1"], &["--tls-auth-clients", "yes"]);
    works(&url(&server), &showing(&authority, "proxy")).await;
    let missing = ["TLS: received fatal alert: CertificateRequired"];
    is_refused(&url(&server), &trusting(&authority), &missing).await;
    let mut strange = showing(&stranger, "proxy");
    strange.tls.ca_file = Some(authority.path("ca.pem"));
    is_refused(
        &url(&server),
        &strange,
        &["TLS: received fatal alert: UnknownCA"],
    )
    .await;
}

#[tokio::test]
async fn a_server_without_tls_and_one_that_speaks_nothing_else_are_not_reached_by_the_wrong_url() {
    let authority = Authority::new();
    let server = server(&authority, &["127.0.0.1"], &["--tls-auth-clients", "no"]);
    let tls_to_plain = format!("rediss://:{PASSWORD}@127.0.0.1:{}", server.port());
    let impatient = StoreSettings {
        timeout: TIMEOUT,
        ..trusting(&authority)
    };
    // It takes a handshake for the beginning of a command.
    is_refused(&tls_to_plain, &impatient, &["does not answer", "TLS"]).await;
    let plain_to_tls = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.second_port());
    is_refused(
        &plain_to_tls,
        &settings(),
        &["the connection to redis was lost"],
    )
    .await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_at_the_start() {
    let mut settings = settings();
    settings.tls.ca_file = Some("/nowhere.pem".into());
    let refused = Redis::connect("rediss://127.0.0.1:1", &settings)
        .await
        .err();
    let why = match refused {
        Some(RedisSetupError::Tls(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(
        why.starts_with("ca_file: /nowhere.pem: expected a file"),
        "{why}"
    );
}

#[tokio::test]
async fn the_servers_of_a_cluster_are_spoken_to_over_tls() {
    let authority = Authority::new();
    authority.issue("proxy", &["proxy"]);
    let further = [
        "--cluster-enabled",
        "yes",
        "--tls-cluster",
        "yes",
        "--tls-auth-clients",
        "yes",
    ];
    let nodes = [0, 1].map(|_| server(&authority, &["127.0.0.1"], &further));
    for (node, (first, last)) in nodes.iter().zip([("0", "8191"), ("8192", "16383")]) {
        node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
    }
    let other = nodes[1].second_port().to_string();
    nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &other]);
    for node in &nodes {
        eventually("the cluster is one", || async {
            let info: String = redis::from_redis_value(node.command(&["CLUSTER", "INFO"])).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        })
        .await;
    }
    let url = url(&nodes[0]).replacen("rediss", "rediss+cluster", 1);
    let store = works(&url, &showing(&authority, "proxy")).await;
    for number in 2..40 {
        let claimed = store.insert(id(number), &claim()).await;
        assert_eq!(claimed, Ok(Inserted::Created));
    }
    for node in &nodes {
        let keys: i64 = redis::from_redis_value(node.command(&["DBSIZE"])).unwrap();
        assert!(keys > 0, "a node has none of 39");
    }
    is_refused(
        &url,
        &trusting(&authority),
        &["TLS", "ertificate", "reset", "closed", "lost"],
    )
    .await;
}

#[tokio::test]
async fn sentinels_and_the_primary_that_they_name_are_spoken_to_over_tls() {
    let authority = Authority::new();
    authority.issue("proxy", &["proxy"]);
    let primary = server(&authority, &["127.0.0.1"], &["--tls-auth-clients", "yes"]);
    let sentinel = Sentinel::watch(&authority, primary.second_port());
    let url = format!("rediss+sentinel://127.0.0.1:{}/orders", sentinel.port);
    works(&url, &showing(&authority, "proxy")).await;
    let stranger = Authority::new();
    stranger.issue("proxy", &["proxy"]);
    is_refused(&url, &showing(&stranger, "proxy"), &["UnknownIssuer"]).await;
}

/// One that is spoken to over TLS alone, and speaks so to what it watches.
struct Sentinel {
    port: u16,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Sentinel {
    fn watch(authority: &Authority, primary: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sentinel.conf");
        let port = RedisServer::absent(&[]).port();
        let mut text = format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ntls-replication yes\nsentinel monitor orders 127.0.0.1 {primary} 1\n"
        );
        for pair in tls(authority).chunks(2) {
            text += &format!("{} {}\n", pair[0].trim_start_matches('-'), pair[1]);
        }
        std::fs::write(&file, text).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .args(["--sentinel", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self {
            port,
            child,
            _directory: directory,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
