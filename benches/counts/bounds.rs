//! What a request may take.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// What stands in `bounds.toml`.
#[derive(Deserialize)]
pub(crate) struct Bounds {
    /// How far above its figure a count may be, as a share of it.
    slack: f64,
    /// The figures by profile, and by the name of their case.
    instructions: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What a count is beside its figure.
pub(crate) enum Verdict {
    /// Within the bound, by this share of the figure above or below it.
    Held(f64),
    /// So far below that the bound guards nothing any more.
    Lower(f64),
    /// Above the bound.
    Broken { bound: u64, by: f64 },
    /// There is no figure.
    Unbound,
}

impl Bounds {
    /// Reads them as they stood when this was built.
    pub(crate) fn read() -> Result<Self, String> {
        toml::from_str(include_str!("bounds.toml")).map_err(|error| error.to_string())
    }

    /// Judges a count of a program that was built with this profile.
    pub(crate) fn verdict(&self, profile: &str, case: &str, counted: u64) -> Verdict {
        let figures = self.instructions.get(profile);
        let Some(&figure) = figures.and_then(|figures| figures.get(case)) else {
            return Verdict::Unbound;
        };
        let by = counted as f64 / figure as f64 - 1.0;
        if by > self.slack {
            let bound = (figure as f64 * (1.0 + self.slack)) as u64;
            Verdict::Broken { bound, by }
        } else if by < -self.slack {
            Verdict::Lower(by)
        } else {
            Verdict::Held(by)
        }
    }
}

impl Verdict {
    /// Whether it is no reason to fail.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self, Self::Held(_) | Self::Lower(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(by) => write!(f, "# {:+.1} %", by * 100.0),
            Self::Lower(by) => write!(f, "# {:+.1} %: lower its figure", by * 100.0),
            Self::Broken { bound, by } => {
                write!(f, "# {:+.1} %: TOO MANY, the bound is {bound}", by * 100.0)
            }
            Self::Unbound => write!(f, "# it has no figure in bounds.toml"),
        }
    }
}

/// What to do when a bound is broken.
pub(crate) const ADVICE: &str = "
A request takes more instructions than benches/counts/bounds.toml allows. `callgrind_annotate` on the files in
target/tmp/counts tells where they go. If they are worth it, or a newer compiler makes them, put the lines above into bounds.toml,
and say in the commit what they are for.";
