//! What processes use, from `/proc`.

use std::fs;

/// Processor time that all processes of a group used, microseconds.
pub(crate) fn group(id: u32) -> f64 {
    ticks(&members(id)) * TICK
}

/// Processor time that this process used, microseconds.
pub(crate) fn own() -> f64 {
    ticks(&[std::process::id()]) * TICK
}

/// Processor time of the whole machine, microseconds: what was used, and what there was.
pub(crate) fn machine() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(number)
        .collect();
    let all: f64 = fields.iter().sum();
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    ((all - idle) * TICK, all * TICK)
}

/// Memory that the processes of a group have resident, MiB. Pages that they share count for each.
pub(crate) fn resident(id: u32) -> f64 {
    memory(id, "VmRSS:")
}

/// What of that is no part of a file: programs and libraries are in memory once, and how much of them is shown as resident differs
/// with what the system has read of them.
pub(crate) fn own_memory(id: u32) -> f64 {
    memory(id, "RssAnon:")
}

/// The most memory that the processes of a group had resident since [`forget_peak`], MiB. Pages that they share count for each.
pub(crate) fn peak(id: u32) -> f64 {
    memory(id, "VmHWM:")
}

/// Begins the peak anew.
pub(crate) fn forget_peak(id: u32) {
    for id in members(id) {
        // Where this is not allowed, it is the peak since the start.
        let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
    }
}

/// The processes of a group.
fn members(group: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| field(*id, GROUP) == Some(f64::from(group)))
        .collect()
}

fn memory(group: u32, field: &str) -> f64 {
    let of_one = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        number(line.split_whitespace().next()?)
    };
    members(group).iter().filter_map(of_one).sum::<f64>() / 1024.0
}

fn ticks(ids: &[u32]) -> f64 {
    let used = |id: &u32| Some(field(*id, USER)? + field(*id, SYSTEM)?);
    ids.iter().filter_map(used).sum()
}

/// A field of `/proc/PID/stat`, counted from behind the name, which may hold anything.
fn field(id: u32, at: usize) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    number(fields.split_whitespace().nth(at)?)
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

const GROUP: usize = 2;
const USER: usize = 11;
const SYSTEM: usize = 12;

/// What `/proc` counts in, microseconds: Linux shows hundredths of a second to programs, whatever its own clock.
const TICK: f64 = 10_000.0;
