//! The configuration of a layer in somebody's program: that of the proxy, without what only a proxy has.

use std::sync::Arc;

use super::file::{read_server, read_store};
use super::overrides::Overrides;
use super::reader::{Reader, Source};
use super::words::name;
use super::{Faults, Settings, defaults, jwt, policy, routes, voice, warnings};
use crate::downstream::ServerSettings;
use crate::proxy::jwt::TokenVerifier;
use crate::proxy::{Policy, Routes, Setup};
use crate::store::StoreSettings;

/// What an [`IdempotencyLayer`](crate::IdempotencyLayer) goes by: a configuration in which everything was checked.
///
/// It is written as the proxy's configuration file is, with `service`, `[store]`, `[policy]`, `[[policy.response]]`, `[[route]]`, `[jwt]`,
/// `[headers]`, `[errors]`, and of `[server]` the limits that are not of connections (`max_in_flight`, `max_buffered_total`, `max_waiters`,
/// `body_idle_timeout`, `drain_timeout`, `trust_forwarded`). What only a proxy has (`listen`, `upstream`, `[admin]` …) is refused by name.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSettings {
    service: String,
    store: StoreSettings,
    server: ServerSettings,
    routes: Routes,
    jwt: Option<Arc<TokenVerifier>>,
    warnings: Vec<String>,
}

impl LayerSettings {
    /// Reads a text; `name` stands for it in faults. Files that it names (`jwt.keys`) are read too.
    ///
    /// # Errors
    ///
    /// Every fault of the text, each with its place.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, Faults> {
        let source = Source::new(name, text);
        let settings = source.read(read);
        source.finish(settings)
    }

    /// Part of every record id: layers of one store that have different ones never meet.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// What [`AnyStore::open`](crate::store::AnyStore::open) takes.
    pub fn store(&self) -> &StoreSettings {
        &self.store
    }

    /// Which policy a request is under.
    #[doc(hidden)]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The limits.
    #[doc(hidden)]
    pub fn server(&self) -> &ServerSettings {
        &self.server
    }

    /// What of it weakens the guarantee, a sentence each: something to log at start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the path takes of it.
    #[doc(hidden)]
    pub fn setup(&self) -> Setup<()> {
        Setup {
            inner: (),
            routes: self.routes.clone(),
            jwt: self.jwt.clone(),
            trust_forwarded: self.server.trust_forwarded.clone(),
            authorities: Vec::new(),
            max_in_flight: self.server.max_in_flight,
            max_buffered_total: self.server.max_buffered_total,
            max_waiters: self.server.max_waiters,
            body_idle_timeout: self.server.body_idle_timeout,
            voice: self.server.voice.clone(),
        }
    }
}

/// What the layer inside of the proxy goes by.
impl From<&Settings> for LayerSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            service: settings.service.clone(),
            store: settings.store.clone(),
            server: settings.server.clone(),
            routes: settings.routes.clone(),
            jwt: settings.jwt.clone(),
            warnings: settings.warnings.clone(),
        }
    }
}

fn read(root: &Reader<'_>) -> LayerSettings {
    root.refuse(&OF_A_PROXY);
    let service = root.get("service", name);
    let mut notes = Vec::new();
    let store = root.section("store", |table| {
        let named = service.is_some() || !root.sound(&["service"]);
        read_store(table, &Overrides::default(), named, &mut notes)
    });
    let voice = Arc::new(voice::read(root));
    let jwt = root.section("jwt", jwt::read);
    let has_jwt = root.spot_of(&["jwt"]).is_some();
    let default = root.section("policy", |table| {
        table.refuse(&["preserve_host"]);
        policy::read(table, &Policy::default(), has_jwt)
    });
    let routes = routes::read(root, default, None, has_jwt);
    let weak = warnings::of(&store, jwt.as_deref(), &routes, &voice);
    LayerSettings {
        service: service.unwrap_or_else(|| defaults::SERVICE.to_owned()),
        server: root.section("server", |table| {
            let server = read_server(table, voice.clone());
            table.refuse_but(&OF_EXCHANGES);
            server
        }),
        warnings: weak.into_iter().chain(notes).collect(),
        jwt,
        store,
        routes,
    }
}

/// What stands at the top of a proxy's configuration alone.
const OF_A_PROXY: [&str; 6] = [
    "listen",
    "upstream",
    "admin",
    "upstream_connections",
    "reload",
    "log",
];

/// What of `[server]` is not of connections.
const OF_EXCHANGES: [&str; 6] = [
    "max_in_flight",
    "max_buffered_total",
    "max_waiters",
    "body_idle_timeout",
    "drain_timeout",
    "trust_forwarded",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let faults = LayerSettings::from_toml("layer.toml", text).unwrap_err();
        faults.to_string()
    }

    #[test]
    fn it_is_read_as_the_proxys_configuration_is() {
        let settings = LayerSettings::from_toml(
            "layer.toml",
            "service = 'orders'\n[store]\nurl = 'memory:'\n[server]\nmax_in_flight = 7\n\
             [policy]\nkey_required = true\n[[route]]\npath = '/orders'\nmode = 'observe'\n",
        )
        .unwrap();
        assert_eq!(settings.service(), "orders");
        assert_eq!(settings.server().max_in_flight, 7);
        assert_eq!(settings.routes().all().len(), 2);
        assert!(settings.routes().all()[0].key_required);
        assert!(!settings.warnings().is_empty());
    }

    #[test]
    fn what_only_a_proxy_has_is_refused_by_name() {
        let text = "listen = '127.0.0.1:1'\nupstream = 'http://a'\n[admin]\nlisten = 'off'\n[upstream_connections]\n[reload]\n[log]\n\
            [server]\nmax_connections = 7\ndrain_delay = '1s'\n[policy]\npreserve_host = true\n[[route]]\npath = '/a'\nupstream = 'http://b'\npreserve_host = false\n";
        let faults = faults(text);
        for key in [
            "layer.toml:1:1: listen: `listen`",
            "layer.toml:2:1: upstream: `upstream`",
            "`admin`",
            "`upstream_connections`",
            "`reload`",
            "`log`",
            "`server.max_connections`",
            "`server.drain_delay`",
            "`policy.preserve_host`",
            "`route.upstream`",
            "`route.preserve_host`",
        ] {
            assert!(faults.contains(key), "{key} in {faults}");
        }
        assert!(!faults.contains("unknown key"), "{faults}");
        assert_eq!(faults.matches("of a proxy").count(), 11, "{faults}");
    }

    #[test]
    fn a_misspelt_key_and_a_shared_store_without_a_service_are_faults_as_ever() {
        assert!(faults("[polcy]\n").contains("did you mean `policy`?"));
        assert!(faults("[store]\nurl = 'redis://127.0.0.1'\n").contains("expected `service`"));
    }
}
