//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;

/// Everything that is wrong with a configuration, by place; never empty. Displays as one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults, sorted by place, each once; or nothing, where there are none.
    pub(super) fn of(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        faults.dedup();
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// The file as a whole is at fault.
    pub(super) fn of_file(name: &str, expected: String) -> Self {
        Self(vec![Fault {
            place: Place::Input(name.to_owned()),
            text: None,
            expected,
        }])
    }

    /// The faults, sorted by place.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// One fault: `FILE:LINE:COLUMN: offending text: what was expected`, or a flag or variable in the place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(super) place: Place,
    pub(super) text: Option<String>,
    pub(super) expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(text) = &self.text {
            write!(f, "{text}: ")?;
        }
        f.write_str(&self.expected)
    }
}

/// Where a fault is; places sort as they are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In the file; line and column count from 1, columns in characters.
    File {
        name: String,
        line: usize,
        column: usize,
    },
    /// A flag, a variable, or a file as a whole.
    Input(String),
}

impl Place {
    /// The place of byte `offset` in `text`.
    pub(super) fn in_file(name: &str, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            name: name.to_owned(),
            line: before.matches('\n').count() + 1,
            // A byte order mark takes no room in an editor.
            column: before[line_start..]
                .trim_start_matches('\u{feff}')
                .chars()
                .count()
                + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Input(input) => f.write_str(input),
        }
    }
}

/// The offending text as it is shown: one line, not too long, and nothing that may be a password.
pub(super) fn shown(text: &str, span: Range<usize>) -> Option<String> {
    let raw = text.get(span)?;
    let line = raw.lines().next()?.trim();
    let quote = if line.starts_with('"') { "\"" } else { "" };
    // An escape may spell what tells a password.
    let escaped = ["\\u", "\\U", "\\x"]
        .iter()
        .any(|escape| raw.contains(escape));
    let secret = raw.contains('@')
        || (raw.contains(':') && raw.contains('?'))
        || (raw.contains([':', '?']) && escaped);
    let line = match line.find([':', '?', '@']) {
        _ if !secret => line.to_owned(),
        Some(at) if !line[at..].starts_with('@') => format!("{}…{quote}", &line[..=at]),
        _ => "…".to_owned(),
    };
    let mut shown: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_MAX)
        .collect();
    if shown.len() < line.len() || raw.lines().nth(1).is_some() {
        shown.push('…');
    }
    (!shown.is_empty()).then_some(shown)
}

/// Characters of the offending text that are shown: enough to recognise it, and it fits a terminal's line.
const SHOWN_MAX: usize = 80;
