//! What is wrong with certificates and keys.

use std::path::{Path, PathBuf};

/// Certificates or keys that cannot be used. Says nothing of what is in a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTls {
    /// A file.
    #[error("{setting}: {}: {why}", path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("expected `{0}` and `{1}` together")]
    Half(&'static str, &'static str),
    /// The system has no root certificates, and no `ca_file` is set.
    #[error("no root certificates found on this system; set ca_file")]
    NoRoots,
}

impl BadTls {
    pub(super) fn file(setting: &'static str, path: &Path, why: impl Into<String>) -> Self {
        Self::File {
            setting,
            path: path.to_owned(),
            why: why.into(),
        }
    }

    /// The setting to look at, and what is wrong with it.
    pub fn told(&self) -> (&'static str, String) {
        match self {
            Self::File { setting, why, .. } => (setting, why.clone()),
            Self::Half(certificate, _) => (certificate, self.to_string()),
            Self::NoRoots => ("ca_file", self.to_string()),
        }
    }
}
