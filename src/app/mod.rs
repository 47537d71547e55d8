//! Everything wired together: bound, running, drained. The one module that knows every other.

#[cfg(feature = "otlp")]
mod collector;
mod condition;
mod demo;
mod files;
mod forwarder;
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
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Reload, serve_admin};
use crate::config::{Configuration, LayerSettings, LogSettings, Settings};
use crate::downstream::{SharedSettings, Shutdown, serve};
use crate::fault;
use crate::layer::IdempotencyLayer;
use crate::proxy::{Idempotency, Setup, Stop};
use crate::store::{AnyStore, Location, SetupError, Store};
use crate::telemetry::{self, Metrics};
use crate::upstream::UpstreamSetupError;
use crate::wire::BoxError;

use self::condition::{Condition, Stage, observe};
use self::demo::ToyApi;
use self::forwarder::Forwarder;
use self::operated::Premises;
use self::reload::Reloader;
use self::signals::{hangups, reload_at, stop_signals};
use self::upstreams::Upstreams;
use self::watch::watch;

/// Runs the proxy until it is told to stop.
pub fn run(configuration: Configuration) -> ExitCode {
    block_on(&configuration.settings.log.clone(), async move {
        let hangups = hangups()?;
        let app = App::bind(configuration).await?;
        let reloads = tokio::spawn(reload_at(hangups, Arc::downgrade(&app.reloader)));
        let (stop, hurry) = stop_signals()?;
        let stopped = async {
            stop.cancelled().await;
            // A manager that was told of the drain must not hear of serving again.
            reloads.abort();
        };
        app.run(stopped, hurry.cancelled()).await;
        Ok(())
    })
}

/// Runs a toy API behind the proxy; the settings' upstream is replaced by it.
pub fn demo(mut settings: Settings) -> ExitCode {
    block_on(&settings.log.clone(), async move {
        let api = ToyApi::bind().await?;
        settings.upstreams[0].origin = api.origin()?;
        let upstream = settings.upstreams[0].clone();
        let app = App::bind(settings).await?;
        let address = app.address()?;
        let api = tokio::spawn(api.serve());
        let show = tokio::spawn(async move { demo::show(address, &upstream).await });
        let (stop, hurry) = stop_signals()?;
        app.run(stop.cancelled(), hurry.cancelled()).await;
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
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

/// A proxy whose store is open and whose listeners are bound.
pub struct App {
    clients: TcpListener,
    operators: Option<Operators>,
    proxy: Idempotency<Forwarder, AnyStore>,
    store: Arc<AnyStore>,
    server: SharedSettings,
    reloader: Arc<Reloader>,
    store_timeout: Duration,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: Stop,
    condition: Arc<Condition>,
    export: traces::Export,
}

/// The operators' listener, which answers probes from before the store is open to after the last exchange.
struct Operators {
    address: SocketAddr,
    serving: JoinHandle<()>,
    stop: DropGuard,
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
    /// Binds the listeners and opens the store. Probes are answered from the beginning, clients not before [`App::run`].
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub async fn bind(configuration: impl Into<Configuration>) -> Result<Self, StartError> {
        let configuration = configuration.into();
        let settings = &configuration.settings;
        files::make_room(settings);
        place::tell(&configuration);
        let upstreams = Upstreams::new(&settings.upstreams, None)?;
        let clients = listen(settings.listen)?;
        let (metrics, tasks, stop) = (
            Arc::new(Metrics::new()),
            TaskTracker::new(),
            Stop::default(),
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
        let store = Arc::new(AnyStore::open(&settings.store).await?);
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
        announce(settings, &clients, operators.as_ref(), &store);
        let reloader = Arc::new(Reloader::new(
            configuration,
            proxy.clone(),
            server.clone(),
            known,
            premises,
            metrics.clone(),
        ));
        // Set once, by whoever made it.
        let _ = reload.set(Arc::new(reloader.clone()) as Arc<dyn Reload>);
        Ok(Self {
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

    /// Serves until `stop` is ready, then drains: still accepting for `drain_delay`; then nothing new, and up to `drain_timeout` for what
    /// runs; then what still runs is settled as unknown. `hurry` ends the waiting early.
    pub async fn run(self, stop: impl Future<Output = ()>, hurry: impl Future<Output = ()>) {
        let shutdown = Shutdown::new();
        let observer = tokio::spawn(observe(self.condition.clone()));
        let watcher = tokio::spawn(watch(self.reloader.clone()));
        let mut clients = tokio::spawn(serve(
            self.clients,
            self.server.clone(),
            self.proxy,
            shutdown.clone(),
            self.metrics.clone(),
        ));
        self.condition.set(Stage::Serving);
        notify::serving();
        stop.await;

        self.condition.set(Stage::Draining);
        watcher.abort();
        let _ = watcher.await;
        let server = self.server.load_full();
        tracing::info!("draining");
        let limit = server.drain_delay + server.drain_timeout;
        notify::draining(limit + self.store_timeout * 2 + LAST_WORDS * 4);
        let drained = async {
            tokio::time::sleep(server.drain_delay).await;
            self.stop.draining.cancel();
            shutdown.drain();
            let _ = (&mut clients).await;
            self.tasks.close();
            self.tasks.wait().await;
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
            self.tasks.close();
            // Long enough for one settlement that fails and one that works, and for the last answers to be written.
            let _ =
                tokio::time::timeout(self.store_timeout * 2 + LAST_WORDS, self.tasks.wait()).await;
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
    }
}

impl Operators {
    fn serve(address: SocketAddr, admin: Admin) -> Result<Self, StartError> {
        let failed = |error| StartError::Listen { address, error };
        let listener = listen(address)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(serve_admin(listener, admin, stopped));
        Ok(Self {
            address,
            serving,
            stop: stop.drop_guard(),
        })
    }
}

/// What the proxy takes of the settings, at start and at a reload.
fn setup(settings: &Settings, upstreams: &Upstreams) -> Setup<Forwarder> {
    let authorities = upstreams.iter().map(|upstream| upstream.authority());
    let forwarder = Forwarder {
        upstreams: upstreams.clone(),
    };
    Setup {
        authorities: authorities.map(str::to_owned).collect(),
        ..LayerSettings::from(settings).setup().round(forwarder)
    }
}

fn announce(
    settings: &Settings,
    clients: &TcpListener,
    operators: Option<&Operators>,
    store: &AnyStore,
) {
    if fault::BUILT_IN {
        tracing::warn!(
            "THIS BUILD CAN DIE AND GO WRONG ON PURPOSE: it has the feature `faults`, and is for tests only"
        );
    }
    if let Ok(address) = clients.local_addr() {
        let tls = settings.server.tls.is_some();
        tracing::info!(%address, tls, upstream = %settings.upstreams[0].origin, "listening");
    }
    if let Some(Operators { address, .. }) = operators {
        tracing::info!(%address, "listening for operators");
    }
    for note in store.health().notes {
        tracing::info!("store: {note}");
    }
    if matches!(settings.store.location, Location::Embedded(_)) {
        tracing::info!("store: embedded, so other replicas do not see these keys");
    }
    tracing::info!(
        routes = settings.routes.all().len(),
        "routes, the default one included"
    );
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
}

/// Connections that wait to be accepted: a fleet that reconnects at once must not be turned away by the kernel.
const BACKLOG: u32 = 4096;

/// How long a stop waits for the last bytes to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A restart must not wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| StartError::Listen { address, error })
}
