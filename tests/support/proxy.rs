//! The proxy, in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use idemproxy::app::App;
use idemproxy::config::{self, Configuration, Origin, Overrides};
use idemproxy::telemetry::Metrics;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Answer, Client, Request, eventually, get, patiently};

/// The proxy, in this process, on ports of its own. Dropped, it stops without waiting for anybody.
pub struct Proxy {
    address: SocketAddr,
    admin: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    hurry: CancellationToken,
    running: JoinHandle<()>,
}

impl Proxy {
    /// Starts from the text of a configuration file, whose `listen` and `admin.listen` have port 0.
    pub async fn start(toml: &str) -> Self {
        let settings = config::from_toml("idemproxy.toml", toml, &Overrides::default())
            .unwrap_or_else(|faults| panic!("{faults}\n{toml}"));
        Self::run(settings.into()).await
    }

    /// Starts from a configuration file, which it can read again.
    pub async fn of_file(path: &Path) -> Self {
        let origin = Origin::new(Some(path), &Overrides::default());
        let configuration = origin.load().unwrap_or_else(|faults| panic!("{faults}"));
        Self::run(configuration).await
    }

    async fn run(configuration: Configuration) -> Self {
        let app = App::bind(configuration).await.unwrap();
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        let proxy = Self {
            address: app.address().unwrap(),
            admin: app.admin_address().expect("an admin listener"),
            metrics: app.metrics(),
            stop: stop.clone(),
            hurry: hurry.clone(),
            running: tokio::spawn(async move {
                app.run(stop.cancelled(), hurry.cancelled()).await.unwrap();
            }),
        };
        patiently(async { while proxy.page("/readyz").await.status != 200 {} }).await;
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub async fn send(&self, request: &Request) -> Answer {
        Client::once(self.address, request).await
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A page of the operator's listener.
    pub async fn page(&self, path: &str) -> Answer {
        let mut page = get(path);
        page.fields = vec![("Host".to_owned(), self.admin.to_string().into_bytes())];
        Client::once(self.admin, &page).await
    }

    /// The value of a line of the metrics page: `idemproxy_in_flight`, `idemproxy_requests_total{route="default",outcome="executed"}`.
    pub fn metric(&self, line: &str) -> f64 {
        value(&self.metrics, line)
    }

    /// Waits until a line of the metrics page has this value.
    #[track_caller]
    pub fn reaches(&self, line: &'static str, expected: f64) -> impl Future<Output = ()> {
        let metrics = self.metrics.clone();
        eventually(move || value(&metrics, line) == expected)
    }

    /// Begins to drain.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends the drain.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Waits until it has stopped.
    pub async fn stopped(mut self) {
        self.stop();
        patiently(&mut self.running).await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        self.hurry.cancel();
    }
}

fn value(metrics: &Metrics, line: &str) -> f64 {
    let page = metrics.encode().unwrap();
    page.lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or(0.0)
}
