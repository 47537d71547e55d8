//! A run: waves of operations under faults, a sweep after each, and the verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::checks::check;
use super::evidence::{Evidence, Violation};
use super::figures::Figures;
use super::history::now;
use super::nemesis::{Nemesis, required};
use super::options::Options;
use super::watchman;
use super::workload;
use super::world::{Backing, Times, World};

/// So many operations while everything goes wrong; panics where something does not hold, or where not everything went wrong.
pub async fn under_faults(backing: Backing, options: &Options, keys: usize) {
    println!(
        "{backing:?}: {keys} operations, IDEMPROXY_HISTORY_SEED={}",
        options.seed
    );
    let world = Arc::new(World::start(backing, Times::HARSH, options).await);
    let watch = AbortOnDropHandle::new(tokio::spawn(watchman::watch(world.clone())));
    let mut nemesis = Nemesis::new(&world);
    let (mut begun, mut since_flush, mut swept) = (0, 0, 0);
    for wave in 0.. {
        let count = wave_of(keys).min(keys - begun);
        if count == 0 {
            break;
        }
        let first = world.history.cells().len();
        if wave % 4 == 1 && backing == Backing::Redis {
            since_flush = first;
        }
        let last = begun + count == keys;
        nemesis = run_wave(&world, nemesis, wave, count, last).await;
        workload::sweep(&world, first..world.history.cells().len()).await;
        begun += count;
        swept = first;
    }
    // The last wave was asked just now.
    workload::sweep(&world, since_flush..swept).await;
    drop(watch);
    let figures = judge(&world);
    for kind in required(&world) {
        assert!(figures.fired(&kind) > 0, "it never fired: {kind}");
    }
    figures.require_answers();
    figures.require_few_excuses();
}

/// So many operations while nothing goes wrong: no outcome is unknown, as nothing explains one.
pub async fn in_peace(backing: Backing, options: &Options, keys: usize) {
    println!("{backing:?}, in peace: {keys} operations");
    let world = Arc::new(World::start(backing, Times::CALM, options).await);
    world.upstream.behave(true);
    workload::run(
        &world,
        0,
        keys,
        Duration::from_secs(2),
        &Arc::new(AtomicBool::new(true)),
    )
    .await;
    workload::sweep(&world, 0..world.history.cells().len()).await;
    let figures = judge(&world);
    assert_eq!(figures.unknowns(), 0);
    figures.require_answers();
}

/// The operations of a wave under faults, until all is healed and every holder has had time to end.
async fn run_wave(
    world: &Arc<World>,
    mut nemesis: Nemesis,
    wave: u64,
    count: usize,
    last: bool,
) -> Nemesis {
    world.upstream.behave(false);
    let through = Arc::new(AtomicBool::new(false));
    let lasts = Duration::from_secs_f64(count as f64 / workload::rate(world.backing));
    let until = now() + lasts;
    let flush = async {
        if wave % 4 == 1 && world.backing == Backing::Redis {
            sleep(Duration::from_secs(1)).await;
            world.flush().await;
        }
    };
    // A task of its own: it waits for processes, and clients must not wait for that.
    let striking = AbortOnDropHandle::new(tokio::spawn({
        let (world, through) = (world.clone(), through.clone());
        async move {
            nemesis.run(&world, until, last).await;
            through.store(true, Ordering::Relaxed);
            nemesis
        }
    }));
    join(workload::run(world, wave, count, lasts, &through), flush).await;
    let nemesis = striking.await.unwrap();
    world.heal().await;
    world.upstream.behave(true);
    sleep(world.times.lease * 2).await;
    nemesis
}

/// Waves are long enough for faults to meet each other, and short enough that a flush leaves most keys checked to their end.
fn wave_of(keys: usize) -> usize {
    keys.div_ceil(2).clamp(1, 2_000)
}

fn judge(world: &World) -> Figures {
    let evidence = Evidence {
        cells: world.history.cells(),
        asked: world.history.asked(),
        visits: world.upstream.ledger().visits(),
        faults: world.faults.all(),
        times: world.times,
    };
    let (violations, exempt) = check(&evidence);
    let figures = Figures::of(world.backing, &evidence, exempt, violations.len());
    println!("{figures}");
    if !violations.is_empty() {
        let kept = world.keep();
        panic!(
            "{}\nlogs and records: {kept:?}",
            tell(&evidence, &violations)
        );
    }
    figures
}

/// The first violations with the whole story of their keys, and how many there are of each check.
fn tell(evidence: &Evidence, violations: &[Violation]) -> String {
    let mut text = String::new();
    let mut checks: Vec<_> = violations.iter().map(|found| found.check).collect();
    checks.sort_unstable();
    checks.dedup();
    for check in checks {
        let found: Vec<_> = violations
            .iter()
            .filter(|found| found.check == check)
            .collect();
        text += &format!("\n== {check}: {} violations\n", found.len());
        for violation in found.iter().take(3) {
            text += &format!("\n{}\n{}", violation.what, evidence.story(violation.cell));
        }
    }
    text
}
