//! The store on a Redis server over TLS, each side with a certificate.

use std::time::Duration;

use idemproxy::store::{Location, Redis, StoreSettings, Sync};
use idemproxy::tls::ClientFiles;

use crate::authority::Authority;
use crate::contract::contract;
use crate::support::RedisServer;

contract!(super::fresh);

async fn fresh() -> (Redis, (Authority, RedisServer)) {
    let authority = Authority::new();
    authority
        .issue("server", &["127.0.0.1"])
        .issue("client", &["proxy"]);
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|f| authority.file(f));
    let arguments = [
        ["--tls-ca-cert-file", &ca],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-auth-clients", "yes"],
    ];
    let server = RedisServer::on_two_ports("--tls-port", arguments.as_flattened());
    let url = format!("rediss://127.0.0.1:{}", server.second_port());
    let settings = StoreSettings {
        location: Location::Redis(url.clone()),
        prefix: "contract".to_owned(),
        // Longer than a busy machine makes anyone wait: the rules are not about time.
        timeout: Duration::from_secs(10),
        sync: Sync::Always,
        max_bytes: u64::MAX,
        wait_replicas: 0,
        allow_eviction: false,
        codec: Default::default(),
        secret: Default::default(),
        tls: ClientFiles {
            ca_file: Some(authority.path("ca.pem")),
            cert_file: Some(authority.path("client.pem")),
            key_file: Some(authority.path("client.key")),
        },
    };
    let store = Redis::connect(&url, &settings).await.unwrap();
    (store, (authority, server))
}
