//! How long an answer takes: beside the upstream alone, in a herd, and beside requests that hang.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{Instant, sleep};

use super::Bench;
use super::clients::{AT_ONCE, Clients};
use super::proxy::{Proxy, Store};
use super::table::Table;
use crate::support::spread::Spread;
use crate::support::tally::Tally;
use crate::support::{Requests, Wire};

/// First requests at a rate, and the same to the upstream alone.
pub(crate) async fn at_a_rate(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let rate = bench.options.rate;
    let store = Store::shared(bench);
    let proxy = Proxy::start(bench, "latency", store, "").await?;
    let mut sides = [
        connect(bench.upstream.address(), AT_ONCE).await?,
        connect(proxy.address(), AT_ONCE).await?,
    ];
    let mut tallies = [const { Vec::new() }; 2];
    for round in 0..=bench.options.rounds {
        for (side, tallies) in sides.iter_mut().zip(&mut tallies) {
            let first = |client| Requests::with_new_keys(&format!("rate-{round}-{client}"));
            let duration = Duration::from_secs(bench.options.seconds);
            let mut tally = side.run(duration, Some(rate), first).await;
            if round > 0 {
                tallies.push([tally.latency(0.5), tally.latency(0.99)]);
            }
        }
    }
    for (at, share, goal) in [(0, "p50", "0.35 ms"), (1, "p99", "1.2 ms")] {
        let [alone, through] =
            [&tallies[0], &tallies[1]].map(|side| Spread::of(side.iter().map(|l| l[at]).collect()));
        let over = (through.median - alone.median) / 1000.0;
        let figure = format!(
            "{over:.2} ms ({} µs; alone {} µs)",
            through.show(0),
            alone.show(0)
        );
        let what = format!(
            "{share} over the upstream alone at {rate} a second: {}",
            store.name()
        );
        table.add(what, figure, goal);
    }
    Ok(())
}

/// One key asked by many at once, and by one.
pub(crate) async fn herd(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let store = Store::shared(bench);
    let proxy = Proxy::start(bench, "herd", store, "[policy]\nin_flight = \"wait\"\n").await?;
    let mut wires = Vec::new();
    for _ in 0..=AT_ONCE {
        let wire = Wire::connect(proxy.address()).await;
        wires.push(wire.map_err(|error| error.to_string())?);
    }
    let [mut alone, mut first, mut winner, mut last, mut beside] = [const { Vec::new() }; 5];
    for round in 0..bench.options.rounds * 10 {
        let answers = ask(&mut wires[..1], |_| format!("alone-{round}")).await?;
        alone.push(answers[0]);
        // What so many at once take without being duplicates.
        let own_keys = |number| format!("own-{round}-{number}");
        first.push(ask(&mut wires[..AT_ONCE], own_keys).await?[0]);

        let asked = bench.upstream.asked();
        let (herd, other) = wires.split_at_mut(AT_ONCE);
        let (answers, other) = tokio::join!(ask(herd, |_| format!("herd-{round}")), async {
            // When all of them wait.
            sleep(WORK / 2).await;
            ask(other, |_| format!("beside-{round}")).await
        });
        let answers = answers?;
        winner.push(answers[0]);
        last.push(answers[answers.len() - 1]);
        beside.push(other?[0]);
        let forwarded = bench.upstream.asked() - asked;
        if forwarded != 2 {
            return Err(format!("two keys were forwarded {forwarded} times"));
        }
    }
    let [alone, first, winner, last, beside] = [alone, first, winner, last, beside].map(Spread::of);
    let name = store.name();
    let what = format!("a key asked by one, an answer of 20 ms: {name}");
    table.add(what, format!("{} ms", alone.show(2)), "");
    let what = format!("the first answer of {AT_ONCE} keys at once: {name}");
    table.add(what, format!("{} ms", first.show(2)), "");
    for (what, spread, than, goal) in [
        ("the first answer of", winner, first, "the same"),
        ("the last answer of", last, first, ""),
        ("another key beside", beside, alone, "the same"),
    ] {
        let more = spread.median - than.median;
        let figure = format!("{} ms ({more:+.2})", spread.show(2));
        let what = format!("{what} {AT_ONCE} duplicates at once: {name}");
        table.add(what, figure, goal);
    }
    Ok(())
}

/// Requests while others hang: in the upstream, and in Redis.
pub(crate) async fn hang(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let store = Store::shared(bench);
    let proxy = Proxy::start(bench, "hang", store, "").await?;
    let mut clients = connect(proxy.address(), AT_ONCE).await?;
    let mut hanging = connect(proxy.address(), AT_ONCE).await?;
    let plain = |_| Requests::without_key();
    let [mut calm, mut beside_upstream, mut beside_redis] = [const { Vec::new() }; 3];
    let figures = |mut tally: Tally| [tally.latency(0.5), tally.latency(0.99)];
    for round in 0..=bench.options.rounds {
        let calm_now = figures(clients.run(LOOK, Some(CALM), plain).await);
        let slow = |client| Requests::with_new_keys(&format!("slow-{round}-{client}")).at(SLOW);
        let (tally, hung) = tokio::join!(
            async {
                sleep(LOOK / 5).await;
                clients.run(LOOK, Some(CALM), plain).await
            },
            // Each asks one, which lasts longer.
            hanging.run(LOOK / 5, None, slow)
        );
        if hung.answered < AT_ONCE as u64 {
            return Err(format!("only {} requests hung", hung.answered));
        }
        if round > 0 {
            calm.push(calm_now);
            beside_upstream.push(figures(tally));
        }
        let Some(redis) = &proxy.redis else { continue };
        let group = Pid::from_raw(redis.id().cast_signed()).ok_or("Redis has no id")?;
        let signal = |signal| kill_process_group(group, signal).map_err(|error| error.to_string());
        signal(Signal::STOP)?;
        let first = |client| Requests::with_new_keys(&format!("frozen-{round}-{client}"));
        let (tally, refused) = tokio::join!(
            clients.run(LOOK, Some(CALM), plain),
            hanging.run(LOOK / 2, None, first)
        );
        signal(Signal::CONT)?;
        if refused.failed < AT_ONCE as u64 {
            return Err(format!("only {} requests were refused", refused.failed));
        }
        let thawed = Instant::now();
        for tried in 0.. {
            let first = Requests::with_new_keys(&format!("thawed-{round}-{tried}"));
            match hanging.each(first).await {
                Ok(()) => break,
                Err(error) if thawed.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(LOOK / 10).await,
            }
        }
        if round > 0 {
            beside_redis.push(figures(tally));
        }
    }
    let show = |side: &[[f64; 2]]| {
        let [p50, p99] =
            [0, 1].map(|at| Spread::of(side.iter().map(|figures| figures[at]).collect()));
        format!("p50 {} µs, p99 {} µs", p50.show(0), p99.show(0))
    };
    let what = format!("requests without a key at {CALM} a second");
    table.add(what.clone(), show(&calm), "");
    let beside = format!("{what}, {AT_ONCE} others hang in the upstream");
    table.add(beside, show(&beside_upstream), "the same");
    if !beside_redis.is_empty() {
        let beside = format!("{what}, {AT_ONCE} others wait for Redis, which is frozen");
        table.add(beside, show(&beside_redis), "the same");
    }
    Ok(())
}

async fn connect(address: std::net::SocketAddr, connections: usize) -> Result<Clients, String> {
    let connecting = Clients::connect(address, connections).await;
    connecting.map_err(|error| error.to_string())
}

/// Asks all at once, each with its key; how long they took, milliseconds, the shortest first.
async fn ask(wires: &mut [Wire], key: impl Fn(usize) -> String) -> Result<Vec<f64>, String> {
    let path = format!("/after/{}", WORK.as_millis());
    let begun = Instant::now();
    let answers = wires.iter_mut().enumerate().map(|(number, wire)| {
        let mut requests = Requests::with_key(&key(number)).at(&path);
        async move {
            let status = wire.ask(requests.next()).await;
            match status.map_err(|error| error.to_string())? {
                201 => Ok(begun.elapsed().as_secs_f64() * 1000.0),
                status => Err(format!("answered {status}")),
            }
        }
    });
    let answers: Result<Vec<f64>, String> = futures_util::future::join_all(answers)
        .await
        .into_iter()
        .collect();
    let mut answers = answers?;
    answers.sort_by(f64::total_cmp);
    Ok(answers)
}

/// What the upstream takes for a key of a herd.
const WORK: Duration = Duration::from_millis(20);
/// Longer than one look.
const SLOW: &str = "/after/2000";
const LOOK: Duration = Duration::from_secs(1);
/// Requests a second beside those that hang.
const CALM: usize = 500;
/// For Redis to be used again.
const PATIENCE: Duration = Duration::from_secs(10);
