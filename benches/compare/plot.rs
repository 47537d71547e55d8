//! The table as bars.

use std::fmt::Write as _;

use super::load::Path;
use super::report::Row;

/// An SVG of the processor time for each request, to be read on light and dark ground alike. The thin lines are the ranges.
pub(crate) fn draw(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.cpu().most).fold(1.0, f64::max);
    let scale = (WIDTH - BARS_FROM - FIGURES) / most;
    let height = TOP + LINE * rows.len() as f64 + 8.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Processor time of the proxy for each request">
<g font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}">
<text x="8" y="20" font-weight="600">Processor time of the proxy for each request, µs (median and range)</text>
"##
    );
    for (number, row) in rows.iter().enumerate() {
        let cpu = row.cpu();
        let top = TOP + LINE * number as f64;
        let (middle, base) = (top + BAR / 2.0, top + BAR - 4.0);
        let end = |figure: f64| BARS_FROM + figure * scale;
        let label = format!("{}, {}", row.kind.name(), row.path.name());
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{base}" text-anchor="end">{label}</text>
<rect x="{BARS_FROM}" y="{top}" width="{:.1}" height="{BAR}" rx="2" fill="{}"/>
<path d="M{:.1} {middle}H{:.1}" stroke="{TEXT}" stroke-width="1.5"/>
<text x="{:.1}" y="{base}">{:.1}</text>"##,
            BARS_FROM - 8.0,
            cpu.median * scale,
            colour(row),
            end(cpu.least),
            end(cpu.most),
            end(cpu.most) + 6.0,
            cpu.median,
        );
    }
    svg + "</g>\n</svg>\n"
}

fn colour(row: &Row) -> &'static str {
    match row.path {
        _ if !row.kind.is_ours() => "#8c959f",
        Path::PassThrough => "#2f81f7",
        Path::First => "#d29922",
        Path::Replay => "#2da44e",
    }
}

const WIDTH: f64 = 760.0;
const BARS_FROM: f64 = 250.0;
/// Room for the figures behind the bars.
const FIGURES: f64 = 60.0;
const TOP: f64 = 36.0;
const LINE: f64 = 26.0;
const BAR: f64 = 18.0;
/// Grey, with enough contrast to white and to black.
const TEXT: &str = "#727a83";
