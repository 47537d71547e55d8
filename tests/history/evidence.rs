//! All that is known of a run once it is over, and what stands against it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::faults::{Fault, On};
use super::history::{Asked, At, CALLERS, Cell, CellId, Class, Said, by_cell};
use super::ledger::Visit;
use super::world::Times;

/// What checks look at: what clients saw, what the upstream did, what went wrong. Numbers of cells are places in `cells`, numbers of
/// visits are places in `visits`, from 1.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub cells: Vec<Cell>,
    pub asked: Vec<Asked>,
    pub visits: Vec<Visit>,
    pub faults: Vec<Fault>,
    /// Of the proxies.
    pub times: Times,
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The name of the check.
    pub check: &'static str,
    pub cell: CellId,
    pub what: String,
}

impl Evidence {
    pub fn visit(&self, number: u64) -> Option<&Visit> {
        self.visits
            .get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// The visits of each cell.
    pub fn visits_of(&self) -> BTreeMap<CellId, Vec<&Visit>> {
        let named = self.cells.iter().enumerate();
        let names: BTreeMap<_, CellId> = named.map(|(id, cell)| (name(cell), id)).collect();
        let mut of: BTreeMap<CellId, Vec<&Visit>> = BTreeMap::new();
        for visit in &self.visits {
            if let Some(id) = names.get(&(visit.key.as_str(), visit.caller.as_str())) {
                of.entry(*id).or_default().push(visit);
            }
        }
        of
    }

    /// What was before records were dropped, for every key that was there then: nothing is promised of it afterwards. Tells how many
    /// keys lost a part of their history by it. Keys that came after are whole.
    pub fn before_flushes(&self) -> (Self, usize) {
        let flushes: Vec<&Fault> = self
            .faults
            .iter()
            .filter(|fault| fault.on == On::Flush)
            .collect();
        let mut first: BTreeMap<CellId, At> = BTreeMap::new();
        for asked in &self.asked {
            let start = first.entry(asked.cell).or_insert(asked.start);
            *start = asked.start.min(*start);
        }
        // The first flush that a cell lived to see.
        let end_of = |cell: CellId| {
            let start = first.get(&cell)?;
            let seen = flushes.iter().filter(|flush| *start <= flush.until);
            seen.map(|flush| flush.from).min()
        };
        let mut kept = self.clone();
        let mut touched = std::collections::BTreeSet::new();
        kept.asked = Vec::new();
        for asked in &self.asked {
            match end_of(asked.cell) {
                Some(flush) if asked.start >= flush => {
                    touched.insert(asked.cell);
                }
                Some(flush) if asked.end >= flush => {
                    touched.insert(asked.cell);
                    kept.asked.push(Asked {
                        end: flush,
                        patience: Duration::ZERO,
                        said: Said::Nothing,
                        ..asked.clone()
                    });
                }
                _ => kept.asked.push(asked.clone()),
            }
        }
        let ends: BTreeMap<u64, At> = self
            .visits_of()
            .iter()
            .filter_map(|(cell, visits)| Some((end_of(*cell)?, visits)))
            .flat_map(|(end, visits)| visits.iter().map(move |visit| (visit.number, end)))
            .collect();
        for visit in &mut kept.visits {
            if let Some(end) = ends.get(&visit.number) {
                visit.effect = visit.effect.filter(|effect| effect < end);
            }
        }
        (kept, touched.len())
    }

    /// Whether records were dropped in this time.
    pub fn flushed_between(&self, from: At, until: At) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| fault.on == On::Flush && fault.overlaps(from, until))
    }

    /// The whole story of a cell, in order.
    pub fn story(&self, cell: CellId) -> String {
        let named = &self.cells[cell];
        let mut lines: Vec<(At, String)> = Vec::new();
        let of_cell = by_cell(&self.asked).remove(&cell).unwrap_or_default();
        for asked in &of_cell {
            let mut line = format!("ask {} proxy {}", asked.id, asked.proxy);
            for (is, what) in [(asked.other_body, "other body"), (asked.sweep, "sweep")] {
                if is {
                    let _ = write!(line, " ({what})");
                }
            }
            lines.push((asked.start, line));
            let line = match &asked.said {
                Said::Answer(answer) => format!(
                    "told {}: {:?}: {} state {:?} error {:?} id {:?} body {:x} headers {:x}",
                    asked.id,
                    answer.class(),
                    answer.status,
                    answer.state.as_deref().unwrap_or("-"),
                    answer.error.as_deref().unwrap_or("-"),
                    answer.id.as_deref().unwrap_or("-"),
                    answer.body,
                    answer.headers
                ),
                said => format!("told {}: {said:?}", asked.id),
            };
            lines.push((asked.end, line));
        }
        for visit in self.visits_of().remove(&cell).unwrap_or_default() {
            let line = format!(
                "    visit {} of request {}: {:?} (body {:x})",
                visit.number, visit.request, visit.act, visit.body
            );
            lines.push((visit.received, line));
            if let Some(effect) = visit.effect {
                lines.push((effect, format!("    EFFECT of visit {}", visit.number)));
            }
            if let Some(sent) = &visit.answer {
                let line = format!(
                    "    visit {} answers {} body {:x} headers {:x}",
                    visit.number, sent.status, sent.body, sent.headers
                );
                lines.push((sent.at, line));
            }
        }
        for fault in &self.faults {
            let meets = |asked: &&Asked| {
                !asked.sweep && fault.overlaps(asked.start, asked.end + self.times.linger())
            };
            if of_cell.iter().any(meets) {
                lines.push((
                    fault.from,
                    format!("        {} {:?} begins", fault.kind, fault.on),
                ));
                lines.push((
                    fault.until,
                    format!("        {} {:?} ends", fault.kind, fault.on),
                ));
            }
        }
        lines.sort_by_key(|line| line.0);
        let mut story = format!("cell {cell}: {named:?}\n");
        for (at, line) in lines {
            let _ = writeln!(story, "{:>10.3}  {line}", at.as_secs_f64());
        }
        story
    }

    /// How many answers there were of each class.
    pub fn classes(&self) -> BTreeMap<&'static str, usize> {
        let mut classes = BTreeMap::new();
        for asked in &self.asked {
            *classes.entry(name_of(&asked.class())).or_default() += 1;
        }
        classes
    }
}

/// A cell as the upstream sees it.
pub fn name(cell: &Cell) -> (&str, &str) {
    (&cell.key, CALLERS[cell.caller].unwrap_or("nobody"))
}

fn name_of(class: &Class) -> &'static str {
    match class {
        Class::Stored(_) => "stored",
        Class::Replay(_) => "replayed",
        Class::Told(_) => "told, not stored",
        Class::Released => "released",
        Class::Unknown => "unknown",
        Class::InProgress => "in progress",
        Class::GoesOn => "goes on",
        Class::KeyReused => "key reused",
        Class::NotNow => "store unavailable",
        Class::None => "no answer",
        Class::Odd => "odd",
    }
}
