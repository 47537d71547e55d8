//! One measurement.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::load::{Load, Path};
use super::options::Options;
use super::system::System;
use crate::support::{Upstream, usage};

/// What one round of a row came to.
#[derive(Serialize)]
pub(crate) struct Sample {
    pub(crate) system: &'static str,
    pub(crate) path: &'static str,
    pub(crate) round: usize,
    /// Requests that were answered as they should be.
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) per_second: f64,
    /// Processor time of the proxy's processes for each request, microseconds.
    pub(crate) cpu: f64,
    /// Requests that the upstream saw, for each that was answered.
    pub(crate) forwarded: f64,
    /// The most memory that the proxy had resident, MiB.
    pub(crate) resident: f64,
    /// Latencies, microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Share of the machine that went to programs which are not of this bench.
    pub(crate) foreign: f64,
    /// Whether that is little enough.
    pub(crate) clean: bool,
}

impl Sample {
    /// Measures a row, after half a second for warming up.
    pub(crate) async fn take(
        system: &System,
        path: Path,
        round: usize,
        upstream: &Upstream,
        options: &Options,
    ) -> Result<Self, String> {
        let proxy = system.proxy();
        let load = |name: String| Load {
            address: proxy.address(),
            path,
            name,
        };
        let measured = load(format!("round-{round}"));
        if path == Path::Replay {
            let asked = measured.once().await;
            asked.map_err(|error| {
                format!("{}: {error}: {}", system.kind.name(), proxy.complaint())
            })?;
            measured.run(WARM_UP, options).await;
        } else {
            load(format!("warm-{round}")).run(WARM_UP, options).await;
        }
        usage::forget_peak(proxy.id());

        let helper = || {
            system
                .helper()
                .map_or(0.0, |helper| usage::group(helper.id()))
        };
        let (used, of_helper, own) = (usage::group(proxy.id()), helper(), usage::own());
        let (busy, all) = usage::machine();
        let asked = upstream.asked();
        let begun = Instant::now();
        let duration = Duration::from_secs(options.seconds as u64);
        let mut tally = measured.run(duration, options).await;
        let took = begun.elapsed().as_secs_f64();
        let asked = upstream.asked() - asked;
        let used = usage::group(proxy.id()) - used;
        let ours = used + helper() - of_helper + usage::own() - own;
        let (busy_then, all_then) = usage::machine();
        let foreign = ((busy_then - busy - ours) / (all_then - all).max(1.0)).max(0.0);

        let answered = tally.answered as f64;
        if answered == 0.0 {
            return Err(format!("{}: {}", system.kind.name(), proxy.complaint()));
        }
        Ok(Self {
            system: system.kind.name(),
            path: path.name(),
            round,
            answered: tally.answered,
            failed: tally.failed,
            per_second: answered / took,
            cpu: used / answered,
            forwarded: asked as f64 / answered,
            resident: usage::peak(proxy.id()),
            p50: tally.latency(0.5),
            p99: tally.latency(0.99),
            foreign,
            clean: foreign <= options.foreign,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            system,
            path,
            cpu,
            per_second,
            foreign,
            ..
        } = self;
        let foreign = foreign * 100.0;
        write!(
            f,
            "{system}, {path}: {cpu:.1} µs, {per_second:.0}/s, {foreign:.0} % of the machine for others"
        )
    }
}

const WARM_UP: Duration = Duration::from_millis(500);
