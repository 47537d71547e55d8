//! What a request costs the proxy, with little and with much of something.

use std::fmt::Write as _;
use std::time::Duration;

use super::Bench;
use super::clients::{AT_ONCE, Clients};
use super::proxy::{Proxy, Store};
use super::table::Table;
use crate::support::Requests;
use crate::support::spread::Spread;
use crate::support::tally::Tally;

/// Few connections and many, with the same number of requests under way.
pub(crate) async fn connections(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let many = bench.options.connections;
    let store = Store::shared(bench);
    let room = format!("[server]\nmax_connections = {}\n", many + 1000);
    let proxy = Proxy::start(bench, "connections", store, &room).await?;
    let mut sides = [
        Side::new(&proxy, AT_ONCE).await?,
        Side::new(&proxy, many).await?,
    ];
    let rate = bench.options.rate;
    for (how, rate) in [
        (format!("{AT_ONCE} requests at once"), None),
        (format!("{rate} requests a second"), Some(rate)),
    ] {
        let compared = compare(bench, &mut sides, rate).await?;
        let what = format!(
            "cost, {AT_ONCE} to {many} connections: {}, {how}",
            store.name()
        );
        table.add(what, compared, FLAT);
    }
    Ok(())
}

/// Few routes and many.
pub(crate) async fn routes(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let many = bench.options.routes;
    let store = Store::shared(bench);
    let few = Proxy::start(bench, "few-routes", store, &configuration(FEW_ROUTES)).await?;
    let other = Proxy::start(bench, "many-routes", store, &configuration(many)).await?;
    let mut sides = [
        Side::new(&few, AT_ONCE).await?,
        Side::new(&other, AT_ONCE).await?,
    ];
    let compared = compare(bench, &mut sides, None).await?;
    let what = format!("cost, {FEW_ROUTES} to {many} routes: {}", store.name());
    table.add(what, compared, FLAT);
    Ok(())
}

/// An empty store and a full one.
pub(crate) async fn keys(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let many = bench.options.keys;
    for store in Store::all(bench) {
        let name = store.name();
        let empty = Proxy::start(bench, &format!("empty-{name}"), store, "").await?;
        let full = Proxy::start(bench, &format!("full-{name}"), store, "").await?;
        let mut sides = [
            Side::new(&empty, AT_ONCE).await?,
            Side::new(&full, AT_ONCE).await?,
        ];
        let mut filled = 0;
        while filled < many {
            let first = |client| Requests::with_new_keys(&format!("fill-{filled}-{client}"));
            let clients = &mut sides[1].clients;
            let tally = clients.run(Duration::from_secs(1), None, first).await;
            if tally.answered == 0 {
                return Err("no request was answered".to_owned());
            }
            filled += tally.answered as usize;
        }
        let compared = compare(bench, &mut sides, None).await?;
        let what = format!("cost, no keys to {filled}: {name}");
        table.add(what, compared, FLAT);
    }
    Ok(())
}

/// One side of a comparison.
struct Side<'a> {
    proxy: &'a Proxy,
    clients: Clients,
}

impl<'a> Side<'a> {
    async fn new(proxy: &'a Proxy, connections: usize) -> Result<Self, String> {
        let connecting = Clients::connect(proxy.address(), connections).await;
        let mut clients = connecting.map_err(|error| error.to_string())?;
        clients.each(Requests::without_key()).await?;
        Ok(Self { proxy, clients })
    }

    /// Processor time for a first request, microseconds.
    async fn cost(&mut self, name: &str, seconds: u64, rate: Option<usize>) -> Result<f64, String> {
        let first = |client| Requests::with_new_keys(&format!("{name}-{client}"));
        let used = self.proxy.used();
        let duration = Duration::from_secs(seconds);
        let Tally {
            answered, failed, ..
        } = self.clients.run(duration, rate, first).await;
        if answered == 0 || failed * 100 > answered {
            return Err(format!("{failed} failed, {answered} were answered"));
        }
        Ok((self.proxy.used() - used) / answered as f64)
    }
}

/// The second side's cost as a multiple of the first one's.
async fn compare(
    bench: &Bench<'_>,
    sides: &mut [Side<'_>; 2],
    rate: Option<usize>,
) -> Result<String, String> {
    let seconds = bench.options.seconds;
    let mut costs = [Vec::new(), Vec::new()];
    let at = rate.unwrap_or_default();
    for round in 0..=bench.options.rounds {
        for turn in 0..2 {
            // Each begins as often as the other.
            let which = (turn + round) % 2;
            let name = format!("{at}-{round}-{which}");
            let cost = sides[which].cost(&name, seconds, rate).await?;
            // The first round is for warming up.
            if round > 0 {
                costs[which].push(cost);
            }
        }
    }
    let [few, many] = costs;
    let ratios = many.iter().zip(&few).map(|(many, few)| many / few);
    let ratio = Spread::of(ratios.collect());
    Ok(format!(
        "{} ({:.1} to {:.1} µs)",
        ratio.show(2),
        Spread::of(few).median,
        Spread::of(many).median
    ))
}

/// So many routes; the one that is asked is the last.
fn configuration(routes: usize) -> String {
    let mut text = String::new();
    for route in 1..routes {
        let _ = writeln!(text, "[[route]]\npath = \"/v1/resource-{route}/{{id}}\"");
    }
    text + "[[route]]\npath = \"/payments\"\n"
}

const FEW_ROUTES: usize = 10;
const FLAT: &str = "0.90 to 1.10";
