//! What is told.

use std::fmt;

/// The figures.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 3]>,
    /// Share of the machine that was in use meanwhile, the bench's own with it.
    pub(crate) busy: f64,
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
