//! Another configuration for a running proxy, whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::StatusCode;

use super::forwarder::Forwarder;
use super::operated::Premises;
use super::upstreams::Upstreams;
use super::{StartError, setup};
use crate::admin::{Refusal, Reload, Reloaded};
use crate::config::{Changes, Configuration, Faults};
use crate::downstream::SharedSettings;
use crate::idempotency::digest::Digest;
use crate::proxy::Idempotency;
use crate::store::AnyStore;
use crate::telemetry::{Metrics, ReloadResult};

/// Reads the configuration again, and puts it in the place of the running one if it can be that.
pub(super) struct Reloader {
    pub(super) proxy: Idempotency<Forwarder, AnyStore>,
    pub(super) server: SharedSettings,
    pub(super) upstreams: Arc<ArcSwap<Upstreams>>,
    premises: Arc<Premises>,
    pub(super) metrics: Arc<Metrics>,
    /// Held from the first byte that is read to the last that is replaced: one reload at a time.
    running: Mutex<Running>,
    /// What there was to read when it was last tried.
    tried: Mutex<Digest>,
    watch: AtomicBool,
    /// How many lanes keep connections to the upstreams.
    lanes: usize,
}

/// What the proxy runs with.
struct Running {
    configuration: Configuration,
    /// Routes that the last reload took away.
    left: Vec<String>,
}

/// Why a configuration is not taken; the old one goes on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("there is nothing to reload: the program was started without a configuration file")]
    NoFile,
    #[error("the configuration came from what is no regular file, and cannot be read again")]
    NotAFile,
    #[error("the configuration is faulty")]
    Faulty(Faults),
    #[error("{0}")]
    Unusable(StartError),
    #[error("the configuration has changes that need a restart")]
    NeedsRestart(Faults),
    #[error(
        "the configuration would forget keys; POST /v1/reload?forget_keys=true on the admin listener takes it all the same"
    )]
    ForgetsKeys(Faults),
    #[error("the reload ended half-way")]
    Died,
}

impl Reloader {
    /// For a proxy that runs with `configuration`.
    pub(super) fn new(
        configuration: Configuration,
        proxy: Idempotency<Forwarder, AnyStore>,
        server: SharedSettings,
        upstreams: Arc<ArcSwap<Upstreams>>,
        premises: Arc<Premises>,
        metrics: Arc<Metrics>,
        lanes: usize,
    ) -> Self {
        metrics.configured(&configuration.hash());
        for route in routes(&configuration) {
            metrics.expect_route(&route);
        }
        Self {
            proxy,
            server,
            upstreams,
            premises,
            metrics,
            lanes,
            watch: AtomicBool::new(configuration.settings.reload.watch),
            tried: Mutex::new(configuration.content),
            running: Mutex::new(Running {
                configuration,
                left: Vec::new(),
            }),
        }
    }

    /// Whether the content is to be watched.
    pub(super) fn watches(&self) -> bool {
        self.watch.load(Ordering::Relaxed)
    }

    /// What there was to read when it was last tried.
    pub(super) fn tried(&self) -> Digest {
        *locked(&self.tried)
    }

    /// What there is to read now.
    pub(super) fn content(&self) -> Digest {
        let origin = locked(&self.running).configuration.origin.clone();
        origin.content()
    }

    /// Reads the configuration again because of `by`, and says in the log what came of it. One after another, and the last word is
    /// that of whoever came last.
    pub(super) async fn reload(
        self: &Arc<Self>,
        by: &'static str,
        forget_keys: bool,
    ) -> Result<Reloaded, Refused> {
        let reloader = self.clone();
        // Whoever asked may leave: what came of it is said all the same, and before the next one begins.
        let reloaded = tokio::task::spawn_blocking(move || {
            let mut running = locked(&reloader.running);
            let reloaded = reloader.now(&mut running, forget_keys);
            reloader.say(by, forget_keys, &reloaded);
            reloaded
        });
        reloaded.await.unwrap_or(Err(Refused::Died))
    }

    fn say(&self, by: &str, forget_keys: bool, reloaded: &Result<Reloaded, Refused>) {
        match reloaded {
            Ok(Reloaded { hash, warnings }) => {
                self.metrics.reloaded(ReloadResult::Applied);
                tracing::info!(by, hash, forget_keys, "the configuration is reloaded");
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
            }
            Err(refused) => {
                if !matches!(refused, Refused::NoFile) {
                    self.metrics.reloaded(ReloadResult::Refused);
                }
                tracing::error!(by, "nothing is reloaded, all goes on as before: {refused}");
                for fault in refused.faults() {
                    tracing::error!("{fault}");
                }
            }
        }
    }

    /// Everything that may fail comes first; from then on nothing does.
    fn now(&self, running: &mut Running, forget_keys: bool) -> Result<Reloaded, Refused> {
        let origin = &running.configuration.origin;
        let path = origin.path().ok_or(Refused::NoFile)?;
        // A pipe is empty once it was read, and opening one may wait for ever.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Refused::NotAFile);
        }
        *locked(&self.tried) = origin.content();
        let configuration = origin.load().map_err(Refused::Faulty)?;
        let Changes { restart, forgets } = configuration.changes(&running.configuration);
        if let Some(faults) = restart {
            return Err(Refused::NeedsRestart(faults));
        }
        if let Some(faults) = forgets.filter(|_| !forget_keys) {
            return Err(Refused::ForgetsKeys(faults));
        }
        let settings = &configuration.settings;
        let upstreams = Upstreams::new(
            &settings.upstreams,
            Some(&self.upstreams.load()),
            self.lanes,
        )
        .map_err(Refused::Unusable)?;

        self.proxy.replace(setup(settings, &upstreams));
        self.server.store(Arc::new(settings.server.clone()));
        self.upstreams.store(Arc::new(upstreams));
        self.premises.goes_by(settings);
        self.watch.store(settings.reload.watch, Ordering::Relaxed);
        let reloaded = Reloaded {
            hash: configuration.hash(),
            warnings: settings.warnings.clone(),
        };
        self.metrics.configured(&reloaded.hash);
        let left = routes(&running.configuration);
        let stay = routes(&configuration);
        for route in &stay {
            self.metrics.expect_route(route);
        }
        // What runs of the one before may still count; of the one before that hardly anything does.
        for route in &running.left {
            if !stay.contains(route) && !left.contains(route) {
                self.metrics.forget_route(route);
            }
        }
        let left = left.into_iter().filter(|route| !stay.contains(route));
        *running = Running {
            left: left.collect(),
            configuration,
        };
        Ok(reloaded)
    }
}

impl Reload for Arc<Reloader> {
    fn reload(&self, forget_keys: bool) -> BoxFuture<'static, Result<Reloaded, Refusal>> {
        let reloader = self.clone();
        Box::pin(async move {
            let reloaded = Reloader::reload(&reloader, "POST /v1/reload", forget_keys).await;
            reloaded.map_err(|refused| Refusal {
                status: match refused {
                    Refused::Faulty(_) | Refused::Unusable(_) => StatusCode::UNPROCESSABLE_ENTITY,
                    Refused::NoFile
                    | Refused::NotAFile
                    | Refused::NeedsRestart(_)
                    | Refused::ForgetsKeys(_) => StatusCode::CONFLICT,
                    Refused::Died => StatusCode::INTERNAL_SERVER_ERROR,
                },
                faults: refused.faults(),
                detail: refused.to_string(),
            })
        })
    }
}

impl Refused {
    /// A line each.
    fn faults(&self) -> Vec<String> {
        match self {
            Self::Faulty(faults) | Self::NeedsRestart(faults) | Self::ForgetsKeys(faults) => {
                faults.iter().map(ToString::to_string).collect()
            }
            Self::NoFile | Self::NotAFile | Self::Unusable(_) | Self::Died => Vec::new(),
        }
    }
}

fn routes(configuration: &Configuration) -> Vec<String> {
    let all = configuration.settings.routes.all().iter();
    all.map(|policy| policy.route.clone()).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that replaces a part panics, so that whoever did had not begun, or was done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
