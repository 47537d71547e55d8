//! What is told of the measurements.

use std::fmt::Write as _;
use std::fs;
use std::io;

use super::load::Path;
use super::options::Options;
use super::plot;
use super::sample::Sample;
use super::system::Kind;
use crate::support::spread::Spread;

/// A line of the table.
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) path: Path,
    samples: Vec<Sample>,
    /// How many rounds were clean.
    clean: usize,
}

/// Prints the table, and writes it, a plot of it, and all samples.
pub(crate) fn write(rows: &[Row], options: &Options) -> io::Result<()> {
    let table = table(rows, options);
    print!("\n{table}");
    fs::create_dir_all(&options.out)?;
    let mut lines = String::new();
    for sample in rows.iter().flat_map(|row| &row.samples) {
        lines += &serde_json::to_string(sample)?;
        lines.push('\n');
    }
    for (name, text) in [
        ("table.md", &table),
        ("plot.svg", &plot::draw(rows)),
        ("samples.jsonl", &lines),
    ] {
        let file = options.out.join(name);
        fs::write(&file, text)?;
        eprintln!("wrote {}", file.display());
    }
    Ok(())
}

impl Row {
    /// A row of these rounds.
    pub(crate) fn new(kind: Kind, path: Path, samples: Vec<Sample>) -> Self {
        let clean = samples.iter().filter(|sample| sample.clean).count();
        Self {
            kind,
            path,
            samples,
            clean,
        }
    }

    /// Processor time for each request, microseconds.
    pub(crate) fn cpu(&self) -> Spread {
        self.spread(|sample| sample.cpu)
    }

    /// Whether requests were forwarded as this path has it, and answered as they should be.
    pub(crate) fn is_honest(&self) -> bool {
        let expected = self.path.forwarded();
        let honest = |sample: &Sample| {
            (sample.forwarded - expected).abs() < 0.02 && sample.failed * 1000 <= sample.answered
        };
        self.samples.iter().all(honest)
    }

    /// Over the clean rounds, or over all where none is.
    fn spread(&self, figure: fn(&Sample) -> f64) -> Spread {
        let counts = |sample: &&Sample| sample.clean || self.clean == 0;
        Spread::of(self.samples.iter().filter(counts).map(figure).collect())
    }
}

/// Markdown.
fn table(rows: &[Row], options: &Options) -> String {
    let of = |meant: fn(Kind) -> bool| {
        let passes = |row: &&Row| row.path == Path::PassThrough && meant(row.kind);
        rows.iter().find(passes).map(|row| row.cpu().median)
    };
    let nginx = of(|kind| kind == Kind::Nginx);
    let own = of(Kind::is_ours);
    let latency = options.rate.is_some();

    let mut text = format!(
        "{} rounds of {} s, {} connections, {}\n\n",
        options.rounds,
        options.seconds,
        options.connections,
        match options.rate {
            Some(rate) => format!("{rate} requests a second"),
            None => "each sending when it has its answer".to_owned(),
        }
    );
    let mut columns = vec![
        "",
        "CPU for each request, µs",
        "of nginx",
        "of our pass-through",
    ];
    columns.push(if latency {
        "p50, µs | p99, µs"
    } else {
        "requests a second"
    });
    columns.extend(["resident, MiB", "forwarded", "failed", "clean rounds"]);
    let columns = columns.join(" | ");
    let bars = columns.matches('|').count() + 1;
    let _ = writeln!(text, "| {columns} |\n|{}", "---|".repeat(bars));
    for row in rows {
        let median = row.cpu().median;
        let mut cells = vec![
            format!("{}, {}", row.kind.name(), row.path.name()),
            row.cpu().show(1),
            times(median, nginx),
            times(median, own),
        ];
        if latency {
            cells.push(row.spread(|sample| sample.p50).show(0));
            cells.push(row.spread(|sample| sample.p99).show(0));
        } else {
            cells.push(row.spread(|sample| sample.per_second).show(0));
        }
        let mark = if row.is_honest() { "" } else { " (!)" };
        let failed: u64 = row.samples.iter().map(|sample| sample.failed).sum();
        cells.extend([
            format!("{:.1}", row.spread(|sample| sample.resident).most),
            format!("{:.3}{mark}", row.spread(|sample| sample.forwarded).median),
            failed.to_string(),
            format!("{} of {}", row.clean, row.samples.len()),
        ]);
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn times(figure: f64, base: Option<f64>) -> String {
    base.map_or("–".to_owned(), |base| format!("{:.2}", figure / base))
}
