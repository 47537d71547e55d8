//! The file, section by section.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;

use super::defaults::{self, TIMEOUT_MAX, TIMEOUT_MIN};
use super::kind::{Read, Value, boolean, duration, list, number, one_of, size, wrong};
use super::overrides::Overrides;
use super::reader::{Reader, Spot};
use super::secrets::{encryption_key, secret};
use super::settings::{AdminSettings, LogSettings, ReloadSettings, Settings};
use super::words::{
    address, address_or_off, content, host_name, location, log_filter, name, networks, origin,
    prefix,
};
use super::{jwt, policy, routes, tls, voice, warnings};
use crate::admin::OperatorToken;
use crate::downstream::ServerSettings;
use crate::idempotency::Secret;
use crate::proxy::Policy;
use crate::store::{Codec, Keyring, Location, StoreSettings, Sync};
use crate::telemetry::LogFormat;
use crate::upstream::UpstreamSettings;
use crate::wire::Voice;

/// Reads all; where a fault was recorded, the settings are incomplete.
pub(super) fn read(root: &Reader<'_>, over: &Overrides) -> Settings {
    let listen = root
        .get_over("listen", over.listen.as_ref(), address)
        .unwrap_or(defaults::LISTEN);
    let upstream = root.get_over("upstream", over.upstream.as_ref(), origin);
    if upstream.is_none() && root.sound(&["upstream"]) {
        root.fault(
            Some(root.spot_missing("upstream")),
            "missing, expected the API's address, such as \"http://127.0.0.1:3000\" (or --upstream, or IDEMPROXY_UPSTREAM)",
        );
    }
    let service = root.get_over("service", over.service.as_ref(), name);
    let mut notes = Vec::new();
    let store = root.section("store", |table| {
        let named = service.is_some() || !root.sound(&["service"]);
        read_store(table, over, named, &mut notes)
    });

    let voice = Arc::new(voice::read(root));
    let jwt = root.section("jwt", jwt::read);
    let has_jwt = root.spot_of(&["jwt"]).is_some();
    let mut origins = vec![upstream.unwrap_or_default()];
    let default = root.section("policy", |table| {
        policy::read(table, &Policy::default(), has_jwt)
    });
    let routes = routes::read(root, default, Some(&mut origins), has_jwt);
    let log = read_log(root, over);
    let server = root.section("server", |table| read_server(table, voice.clone()));
    let upstreams = root.section("upstream_connections", |table| {
        read_upstreams(table, origins, &mut notes)
    });
    let shown = server.tls.as_ref().and_then(|tls| tls.note());
    notes.extend(shown.map(|note| format!("server.{note}")));
    let weak = warnings::of(&store, jwt.as_deref(), &routes, &voice);
    notes.extend(warnings::of_log(&log));
    Settings {
        listen,
        service: service.unwrap_or_else(|| defaults::SERVICE.to_owned()),
        admin: root.section("admin", |table| {
            let spot = root.spot_over("listen", over.listen.as_ref());
            read_admin(table, over, (listen, spot))
        }),
        server,
        upstreams,
        log,
        reload: root.section("reload", |table| ReloadSettings {
            watch: table.get_or("watch", boolean, defaults::RELOAD_WATCH),
        }),
        warnings: weak.into_iter().chain(notes).collect(),
        jwt,
        store,
        routes,
    }
}

fn read_admin(
    table: &Reader<'_>,
    over: &Overrides,
    public: (SocketAddr, Option<Spot>),
) -> Option<AdminSettings> {
    let listen = table.get_over("listen", over.admin.as_ref(), address_or_off);
    let token = table.get_over("token_file", over.admin_token_file.as_ref(), token);
    let hosts = table.get("hosts", list(0, host_name)).unwrap_or_default();
    let listen = listen.unwrap_or(Some(defaults::ADMIN))?;
    let spot = || table.spot_over("listen", over.admin.as_ref());
    if !listen.ip().is_loopback() && token.is_none() && table.sound(&["token_file"]) {
        table.fault(
            spot(),
            "not a loopback address, expected `admin.token_file` with it: whoever reaches it can release keys",
        );
    }
    if listen == public.0 && listen.port() != 0 {
        table.fault(
            spot().or(public.1),
            "expected different addresses for `listen` and `admin.listen`",
        );
    }
    Some(AdminSettings {
        listen,
        token,
        hosts,
    })
}

/// The token in a file. Nothing of it is in the fault.
fn token(value: &Value<'_>) -> Read<OperatorToken> {
    let bytes = content(value)?;
    let text = bytes.trim_ascii();
    // RFC 6750, section 2.1.
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if text.is_empty() || text.len() as u64 > defaults::TOKEN_MAX || !text.iter().all(fits) {
        return wrong(
            value,
            format!(
                "a file with one token of 1 to {} letters, digits and -._~+/=",
                defaults::TOKEN_MAX
            ),
        );
    }
    Ok(OperatorToken::new(text))
}

pub(super) fn read_store(
    table: &Reader<'_>,
    over: &Overrides,
    named: bool,
    notes: &mut Vec<String>,
) -> StoreSettings {
    let location = table.get_over("url", over.store.as_ref(), location);
    if matches!(location, Some(Location::Redis(_))) && !named {
        table.fault(
            table.spot_over("url", over.store.as_ref()),
            "expected `service` with it: others may share this store, and the name keeps their keys apart",
        );
    }
    let tls = tls::client(table, "store", notes);
    match &location {
        Some(url) if url.is_tls() || tls.are_none() => {}
        Some(Location::Redis(_)) => {
            table.fault(
                table.spot_of(&["ca_file", "cert_file", "key_file"]),
                "expected a `url` of rediss: with it; over redis: nothing is encrypted, and nobody's certificate is looked at",
            );
        }
        Some(_) => notes.push(unused("store", "the store is not on a server")),
        None => {}
    }
    StoreSettings {
        location: location.unwrap_or(Location::Embedded(PathBuf::from(defaults::STORE_DIR))),
        prefix: table.get_or("prefix", prefix, defaults::PREFIX.to_owned()),
        timeout: table.get_or(
            "timeout",
            duration(TIMEOUT_MIN..=TIMEOUT_MAX),
            defaults::STORE_TIMEOUT,
        ),
        sync: table.get_or("sync", one_of(SYNC), Sync::Always),
        max_bytes: table.get_or(
            "max_bytes",
            size(1 << 20..=u64::MAX),
            defaults::STORE_MAX_BYTES,
        ),
        wait_replicas: table.get_or("wait_replicas", number(0..=100), 0),
        allow_eviction: table.get_or("allow_eviction", boolean, false),
        codec: table
            .get("encryption_keys", list(1, encryption_key))
            .and_then(Keyring::of)
            .map_or(Codec::clear(), Codec::sealing),
        secret: table.get_or("secret_file", secret, Secret::none()),
        tls,
    }
}

pub(super) fn read_server(table: &Reader<'_>, voice: Arc<Voice>) -> ServerSettings {
    use defaults as d;
    let many = 1..=10_000_000;
    let timeout = TIMEOUT_MIN..=TIMEOUT_MAX;
    let drain = d::DRAIN_DELAY..=TIMEOUT_MAX;
    let header_bytes = d::MAX_HEADER_BYTES_MIN..=16 << 20;
    ServerSettings {
        max_connections: table.get_or("max_connections", number(many.clone()), d::MAX_CONNECTIONS),
        max_in_flight: table.get_or("max_in_flight", number(many), d::MAX_IN_FLIGHT),
        max_buffered_total: table.get_or(
            "max_buffered_total",
            size(1..=u64::MAX),
            d::MAX_BUFFERED_TOTAL,
        ),
        max_waiters: table.get_or("max_waiters", number(0..=10_000_000), d::MAX_WAITERS),
        header_timeout: table.get_or(
            "header_timeout",
            duration(timeout.clone()),
            d::HEADER_TIMEOUT,
        ),
        body_idle_timeout: table.get_or(
            "body_idle_timeout",
            duration(timeout),
            d::BODY_IDLE_TIMEOUT,
        ),
        max_header_bytes: table.get_or("max_header_bytes", size(header_bytes), d::MAX_HEADER_BYTES)
            as usize,
        drain_delay: table.get_or("drain_delay", duration(drain.clone()), d::DRAIN_DELAY),
        drain_timeout: table.get_or("drain_timeout", duration(drain), d::DRAIN_TIMEOUT),
        trust_forwarded: table
            .get("trust_forwarded", list(0, networks))
            .map(|networks| networks.concat())
            .unwrap_or_else(d::trust_forwarded),
        tls: tls::server(table),
        voice,
    }
}

/// One set of connections settings for every upstream.
fn read_upstreams(
    table: &Reader<'_>,
    origins: Vec<Uri>,
    notes: &mut Vec<String>,
) -> Vec<UpstreamSettings> {
    let connections = UpstreamSettings {
        origin: Uri::default(),
        connect_timeout: table.get_or(
            "connect_timeout",
            duration(TIMEOUT_MIN..=TIMEOUT_MAX),
            defaults::CONNECT_TIMEOUT,
        ),
        idle_timeout: table.get_or(
            "idle_timeout",
            duration(std::time::Duration::ZERO..=TIMEOUT_MAX),
            defaults::UPSTREAM_IDLE_TIMEOUT,
        ),
        max_idle: table.get_or(
            "max_idle",
            number(0..=1_000_000),
            defaults::UPSTREAM_MAX_IDLE,
        ),
        max_connections: table.get_or(
            "max_connections",
            number(1..=1_000_000),
            defaults::UPSTREAM_MAX_CONNECTIONS,
        ),
        tls: tls::client(table, "upstream_connections", notes),
    };
    let is_tls = |origin: &Uri| origin.scheme() == Some(&Scheme::HTTPS);
    if !connections.tls.are_none() && !origins.is_empty() && !origins.iter().any(is_tls) {
        notes.push(unused("upstream_connections", "no upstream is https:"));
    }
    origins
        .into_iter()
        .map(|origin| UpstreamSettings {
            origin,
            ..connections.clone()
        })
        .collect()
}

/// What is told of certificates that are configured in vain.
fn unused(section: &str, why: &str) -> String {
    format!("{section}: its ca_file, cert_file and key_file are of no use, since {why}")
}

fn read_log(root: &Reader<'_>, over: &Overrides) -> LogSettings {
    LogSettings {
        filter: root
            .given("log", over.log.as_ref(), log_filter)
            .unwrap_or_else(|| defaults::LOG_FILTER.to_owned()),
        format: root
            .given("log_format", over.log_format.as_ref(), one_of(LOG_FORMAT))
            .unwrap_or(LogFormat::Text),
        keys: root.section("log", |table| table.get_or("keys", boolean, false)),
    }
}

pub(super) const SYNC: &[(&str, Sync)] = &[("always", Sync::Always), ("never", Sync::Never)];
const LOG_FORMAT: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
