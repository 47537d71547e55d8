//! What is told.

use std::fmt;

/// The figures.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 3]>,
    /// Share of the machine that was in use meanwhile, the bench's own with it.
    pub(crate) busy: f64,
}

/// Median and range of what was measured some times.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Table {
    /// Adds a row, and tells it at once.
    pub(crate) fn add(&mut self, what: String, figure: String, goal: &str) {
        eprintln!("  {what}: {figure}");
        self.rows.push([what, figure, goal.to_owned()]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = self.busy * 100.0;
        writeln!(f, "The machine was in use by {busy:.0} %.\n")?;
        writeln!(f, "| | measured | goal |\n|---|---|---|")?;
        for [what, figure, goal] in &self.rows {
            writeln!(f, "| {what} | {figure} | {goal} |")?;
        }
        Ok(())
    }
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => (figures[middle - 1] + figures[middle]) / 2.0,
            _ => figures[middle],
        };
        Self {
            least: figures[0],
            median,
            most: figures[figures.len() - 1],
        }
    }

    pub(crate) fn show(self, decimals: usize) -> String {
        let Self {
            least,
            median,
            most,
        } = self;
        format!("{median:.decimals$} [{least:.decimals$} to {most:.decimals$}]")
    }
}
