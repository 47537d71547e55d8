//! What comes before the file: flags, and environment variables.

use std::fmt;

/// What flags and environment variables say; each comes before the file's setting of its name.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `listen`
    pub listen: Option<Given>,
    /// `upstream`
    pub upstream: Option<Given>,
    /// `store.url`
    pub store: Option<Given>,
    /// `service`
    pub service: Option<Given>,
    /// `admin.listen`
    pub admin: Option<Given>,
    /// `admin.token_file`
    pub admin_token_file: Option<Given>,
    /// The log filter, which no file sets.
    pub log: Option<Given>,
    /// The log format, `text` or `json`, which no file sets.
    pub log_format: Option<Given>,
}

/// A value from outside the file.
#[derive(Clone)]
pub struct Given {
    /// The flag or variable, as the operator knows it: `--listen`, `IDEMPROXY_LISTEN`.
    pub by: String,
    /// What it says.
    pub value: String,
}

impl Given {
    /// A value by flag or variable.
    pub fn new(by: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            by: by.into(),
            value: value.into(),
        }
    }
}

/// Without the value, which may carry the store's password.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.by)
    }
}
