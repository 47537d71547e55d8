//! What is resident.

use std::time::Duration;

use tokio::time::sleep;

use super::Bench;
use super::clients::{AT_ONCE, Clients};
use super::proxy::{Proxy, Store};
use super::table::Table;
use crate::support::Requests;

/// At rest, with requests under way, and for each connection without one.
pub(crate) async fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    // Its records would count as memory of the proxy.
    let store = Store::shared(bench);
    let resting = bench.options.resting;
    let room = format!(
        "[server]\nmax_connections = {}\nheader_timeout = \"5m\"\n",
        resting + 1000
    );
    let proxy = Proxy::start(bench, "memory", store, &room).await?;
    sleep(SETTLED).await;
    let mib = |(resident, own): (f64, f64)| {
        format!("{resident:.1} MiB, {own:.1} without program and libraries")
    };
    let what = format!("resident after the start: {}", store.name());
    table.add(what, mib(proxy.memory()), "10 MiB");

    {
        let connecting = Clients::connect(proxy.address(), AT_ONCE).await;
        let mut clients = connecting.map_err(|error| error.to_string())?;
        let first = |client| Requests::with_new_keys(&format!("busy-{client}"));
        clients.run(Duration::from_secs(2), None, first).await;
    }
    let memory = proxy.memory();
    let what = format!("resident, {AT_ONCE} connections with first requests");
    table.add(what, mib(memory), "16 MiB");
    sleep(SETTLED).await;

    let (_, before) = proxy.memory();
    let connecting = Clients::connect(proxy.address(), resting).await;
    let mut clients = connecting.map_err(|error| error.to_string())?;
    sleep(SETTLED).await;
    let each = || {
        let (_, now) = proxy.memory();
        format!("{:.1} KiB", (now - before) * 1024.0 / resting as f64)
    };
    let what = format!("for each of {resting} connections that have asked nothing");
    table.add(what, each(), "12 KiB");
    for (time, goal) in [("once", "12 KiB"), ("twice", "12 KiB")] {
        let name = format!("resting-{time}");
        clients.each(Requests::with_new_keys(&name)).await?;
        sleep(SETTLED).await;
        let what = format!("for each of {resting} connections that rest, asked {time}");
        table.add(what, each(), goal);
    }
    let first = |client| Requests::with_new_keys(&format!("turn-{client}"));
    let tally = clients.run(Duration::from_secs(3), None, first).await;
    sleep(SETTLED).await;
    let what = format!(
        "the same after {} requests, {AT_ONCE} at once",
        tally.answered
    );
    table.add(what, each(), "12 KiB");
    Ok(())
}

/// Time for what was begun to end.
const SETTLED: Duration = Duration::from_secs(1);
