//! Everything wired together: bound, running, drained. The one module that knows every other.
//!
//! Clients are served as soon as their listener is bound, also while a store on another machine is still looked for: what needs no
//! store flows, and claims are refused. Ready, for probes and the service manager, is the program only when that look has ended;
//! a store that must not be used ends it with the exit code of a failed start.

mod announce;
#[cfg(feature = "otlp")]
mod collector;
mod condition;
mod demo;
mod files;
mod forwarder;
mod listeners;
mod notify;
mod operated;
mod place;
mod reload;
mod signals;
mod traces;
mod upstreams;
mod watch;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use crate::admin::{Admin, Reload};
use crate::config::{Configuration, LayerSettings, LogSettings, Settings};
use crate::downstream::{SharedSettings, Shutdown, serve};
use crate::lanes::{Lanes, Tasks, Threads};
use crate::layer::IdempotencyLayer;
use crate::proxy::{Idempotency, Setup, Stop};
use crate::store::{AnyStore, SetupError};
use crate::telemetry::{self, Metrics};
use crate::upstream::UpstreamSetupError;
use crate::wire::BoxError;

use self::condition::{Condition, Stage, observe};
use self::demo::ToyApi;
use self::forwarder::Forwarder;
use self::listeners::{Operators, listen};
use self::operated::Premises;
use self::reload::Reloader;
use self::signals::{hangups, reload_at, stop_signals};
use self::upstreams::Upstreams;
use self::watch::watch;

/// Runs the proxy until it is told to stop.
pub fn run(configuration: Configuration) -> ExitCode {
    block_on(&configuration.settings.log.clone(), async move {
        // First of all: a signal that comes before ends the process, and as process 1 of a container it is lost.
        let hangups = hangups()?;
        let (stop, hurry) = stop_signals()?;
        let threads = Threads::start(threads(), LAST_WORDS)?;
        let bound = App::bind_on(configuration, threads.lanes());
        let bound = stop.run_until_cancelled(bound).await;
        let Some(app) = bound.transpose()? else {
            tracing::info!("stopped before the store was open");
            return Ok(());
        };
        let started = app.condition.started();
        let reloader = Arc::downgrade(&app.reloader);
        let reloads = tokio::spawn(async move {
            // A manager must not hear of serving before it is so.
            started.await;
            reload_at(hangups, reloader).await;
        });
        let stopped = async {
            stop.cancelled().await;
            // A manager that was told of the drain must not hear of serving again.
            reloads.abort();
        };
        let ended = app.run(stopped, hurry.cancelled()).await;
        threads.stop();
        Ok(ended?)
    })
}

/// As many as there are processors for this process.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a toy API behind the proxy; the settings' upstream is replaced by it.
pub fn demo(mut settings: Settings) -> ExitCode {
    block_on(&settings.log.clone(), async move {
        let (stop, hurry) = stop_signals()?;
        let api = ToyApi::bind().await?;
        settings.upstreams[0].origin = api.origin()?;
        let upstream = settings.upstreams[0].clone();
        let app = App::bind(settings).await?;
        let address = app.address()?;
        let api = tokio::spawn(api.serve());
        let show = tokio::spawn(async move { demo::show(address, &upstream).await });
        app.run(stop.cancelled(), hurry.cancelled()).await?;
        api.abort();
        show.await??;
        Ok(())
    })
}

fn block_on(log: &LogSettings, run: impl Future<Output = Result<(), BoxError>>) -> ExitCode {
    if let Err(error) = telemetry::init(&log.filter, log.format) {
        eprintln!("idemproxy: {error}");
        return ExitCode::from(2);
    }
    // What serves clients has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.map_err(BoxError::from).and_then(|runtime| {
        let ended = runtime.block_on(run);
        // A file that does not answer must not keep the process from ending.
        runtime.shutdown_timeout(LAST_WORDS);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A proxy whose listeners are bound, and whose store is open or, on another machine, looked for.
pub struct App {
    lanes: Lanes,
    clients: TcpListener,
    operators: Option<Operators>,
    proxy: Idempotency<Forwarder, AnyStore>,
    store: Arc<AnyStore>,
    server: SharedSettings,
    reloader: Arc<Reloader>,
    store_timeout: Duration,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    stop: Stop,
    condition: Arc<Condition>,
    export: traces::Export,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Certificates or keys that cannot be used.
    #[error("upstream {origin}: {error}")]
    Upstream {
        /// As configured.
        origin: http::Uri,
        /// What is wrong.
        error: Box<UpstreamSetupError>,
    },
    /// The store cannot be used.
    #[error("store: {0}")]
    Store(#[from] SetupError),
}

impl App {
    /// Binds the listeners and opens the store, or begins to look for it. Probes are answered from the beginning, clients not
    /// before [`App::run`].
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub async fn bind(configuration: impl Into<Configuration>) -> Result<Self, StartError> {
        Self::bind_on(configuration, Lanes::default()).await
    }

    /// The same, with clients served on these lanes.
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn bind_on(
        configuration: impl Into<Configuration>,
        lanes: Lanes,
    ) -> Result<Self, StartError> {
        let configuration = configuration.into();
        let settings = &configuration.settings;
        files::make_room(settings, lanes.count());
        place::tell(&configuration);
        let upstreams = Upstreams::new(&settings.upstreams, None, lanes.count())?;
        let clients = listen(settings.listen)?;
        let (metrics, tasks, stop) = (
            Arc::new(Metrics::new()),
            Tasks::default(),
            Stop::with_lanes(lanes.count()),
        );
        let known = Arc::new(ArcSwap::from_pointee(upstreams.clone()));
        let condition = Arc::new(Condition::starting(known.clone(), metrics.clone()));
        let premises = Arc::new(Premises::of(settings));
        let reload = Arc::new(OnceLock::new());
        let operators = match &settings.admin {
            Some(admin) => {
                let desk = Admin {
                    report: condition.clone(),
                    metrics: metrics.clone(),
                    reload: reload.clone(),
                    operated: premises.clone(),
                    hosts: admin.hosts.clone().into(),
                    token: admin.token.clone(),
                };
                Some(Operators::serve(admin.listen, desk)?)
            }
            None => None,
        };
        let store = Arc::new(AnyStore::begin(&settings.store, &lanes).await?);
        condition.opened(store.clone());
        premises.opened(store.clone());
        let (traces, export) = traces::start(&metrics);
        let Setup {
            inner, authorities, ..
        } = setup(settings, &upstreams);
        let proxy = IdempotencyLayer::builder(store.clone(), LayerSettings::from(settings))
            .beside(metrics.clone(), tasks.clone(), stop.clone())
            .telling(traces, settings.log.keys)
            .forwarding(inner, authorities);
        let server = settings.server.clone().into_shared();
        let store_timeout = settings.store.timeout;
        announce::listening(
            settings,
            clients.local_addr().ok(),
            operators.as_ref().map(|operators| operators.address),
        );
        let reloader = Arc::new(Reloader::new(
            configuration,
            proxy.clone(),
            server.clone(),
            known,
            premises,
            metrics.clone(),
            lanes.count(),
        ));
        // Set once, by whoever made it.
        let _ = reload.set(Arc::new(reloader.clone()) as Arc<dyn Reload>);
        Ok(Self {
            lanes,
            clients,
            operators,
            proxy,
            reloader,
            condition,
            store,
            server,
            store_timeout,
            metrics,
            tasks,
            stop,
            export,
        })
    }

    /// Where clients connect.
    ///
    /// # Errors
    ///
    /// What the system says of its own socket.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.clients.local_addr()
    }

    /// Where operators connect, if anywhere.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.operators.as_ref().map(|operators| operators.address)
    }

    /// What is counted.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Serves until `stop` is ready, then drains: still accepting for `drain_delay`, unless it was never ready; then nothing new, and
    /// up to `drain_timeout` for what runs; then what still runs is settled as unknown. `hurry` ends the waiting early.
    ///
    /// # Errors
    ///
    /// The store was reached, and must not be used: then it drains at once.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let shutdown = Shutdown::new();
        let observer = tokio::spawn(observe(self.condition.clone()));
        let (server, metrics, draining) =
            (self.server.clone(), self.metrics.clone(), shutdown.clone());
        let mut clients = tokio::spawn(async move {
            serve(
                &self.lanes,
                self.clients,
                server,
                self.proxy,
                draining,
                metrics,
            )
            .await;
        });
        tokio::pin!(stop);
        let checked = tokio::select! {
            () = &mut stop => None,
            checked = self.store.checked() => Some(checked),
        };
        let mut watcher = None;
        if let Some(Ok(())) = checked {
            announce::store(&self.store);
            watcher = Some(tokio::spawn(watch(self.reloader.clone())));
            self.condition.set(Stage::Serving);
            notify::serving();
            stop.await;
        }

        self.condition.set(Stage::Draining);
        let was_ready = watcher.is_some();
        if let Some(watcher) = watcher {
            watcher.abort();
            let _ = watcher.await;
        }
        let server = self.server.load_full();
        tracing::info!("draining");
        // Nobody has to notice the end of what was never ready.
        let delay = if was_ready {
            server.drain_delay
        } else {
            Duration::ZERO
        };
        let limit = delay + server.drain_timeout;
        notify::draining(limit + self.store_timeout * 2 + LAST_WORDS * 7);
        let drained = async {
            tokio::time::sleep(delay).await;
            self.stop.draining.cancel();
            shutdown.drain();
            let _ = (&mut clients).await;
            self.tasks.ended().await;
        };
        let in_time = tokio::select! {
            () = drained => true,
            () = tokio::time::sleep(limit) => false,
            () = hurry => false,
        };
        if !in_time {
            tracing::warn!(
                running = self.tasks.len(),
                "the drain deadline passed; what still runs is settled as unknown"
            );
            self.stop.draining.cancel();
            shutdown.drain();
            self.stop.deadline.cancel();
            // Long enough to hear of it, for one settlement that fails and one that works, and for the last answers to be written.
            let _ =
                tokio::time::timeout(self.store_timeout * 2 + LAST_WORDS, self.tasks.ended()).await;
            if !clients.is_finished() {
                let _ = tokio::time::timeout(LAST_WORDS, &mut clients).await;
            }
            shutdown.close();
            if !self.tasks.is_empty() {
                tracing::warn!(
                    left = self.tasks.len(),
                    "the store did not take the end of every claim; those lapse to unknown"
                );
            }
        }
        self.export.flush(LAST_WORDS).await;
        observer.abort();
        if let Some(operators) = self.operators {
            drop(operators.stop);
            let _ = tokio::time::timeout(LAST_WORDS, operators.serving).await;
        }
        // What is queued is written when the last who has the store goes.
        drop((self.reloader, self.store));
        tracing::info!("stopped");
        Ok(checked.transpose().map(drop)?)
    }
}

/// What the proxy takes of the settings, at start and at a reload.
fn setup(settings: &Settings, upstreams: &Upstreams) -> Setup<Forwarder> {
    let authorities = upstreams.iter().map(|upstream| {
        http::HeaderValue::from_str(upstream.authority())
            .expect("what may stand in an authority may stand in a header")
    });
    let forwarder = Forwarder {
        upstreams: upstreams.clone(),
    };
    Setup {
        authorities: authorities.collect(),
        ..LayerSettings::from(settings).setup().round(forwarder)
    }
}

/// How long a stop waits for the last bytes to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
