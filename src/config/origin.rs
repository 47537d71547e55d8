//! Where a configuration comes from, so that it can be read again.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::changes::Changes;
use super::fault::Faults;
use super::overrides::Overrides;
use super::settings::Settings;
use super::written::Written;
use super::{file_text, from_toml};
use crate::idempotency::digest::{Digest, Hasher};
use crate::tls::ClientFiles;

/// Where a configuration comes from: a file, if there is one, and what comes before it.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    path: Option<PathBuf>,
    overrides: Overrides,
}

/// A configuration, and how it is written.
#[derive(Debug)]
pub struct Configuration {
    /// What it says.
    pub settings: Settings,
    /// Where it can be read again.
    pub origin: Origin,
    /// [`Origin::content`] before it was read: where that is another later, there is something to read again.
    pub content: Digest,
    pub(super) written: Written,
    /// What the files say that the store's connections are made with.
    pub(super) store_files: Digest,
}

impl Origin {
    /// The file at `path`, with `overrides` before it.
    pub fn new(path: Option<&Path>, overrides: &Overrides) -> Self {
        Self {
            path: path.map(Path::to_owned),
            overrides: overrides.clone(),
        }
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the file, if there is one, with what comes before it.
    ///
    /// # Errors
    ///
    /// As [`load`](super::load).
    pub fn load(&self) -> Result<Configuration, Faults> {
        let content = self.content();
        let (name, text) = match &self.path {
            Some(path) => (path.display().to_string(), file_text(path)?),
            None => (String::new(), String::new()),
        };
        let settings = from_toml(&name, &text, &self.overrides)?;
        let ClientFiles {
            ca_file,
            cert_file,
            key_file,
        } = &settings.store.tls;
        let mut store_files = Hasher::new("files of the store");
        for file in [ca_file, cert_file, key_file] {
            let content = file.as_deref().and_then(self::content);
            store_files.part(&content.unwrap_or_default());
        }
        Ok(Configuration {
            store_files: store_files.finish(),
            settings,
            origin: self.clone(),
            content,
            written: Written::new(name, text),
        })
    }

    /// A digest of what there is to read at this moment: the file and the files that it names, their content and not their names or
    /// times. What cannot be read counts as that.
    pub fn content(&self) -> Digest {
        let mut digest = Hasher::new("content of a configuration");
        let mut part = |path: &Path| {
            let content = content(path);
            digest.part(&[u8::from(content.is_some())]);
            digest.part(content.as_deref().unwrap_or_default());
            content
        };
        let text = self.path.as_deref().and_then(&mut part);
        if let Some(token) = &self.overrides.admin_token_file {
            part(Path::new(&token.value));
        }
        if let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok()) {
            for file in Written::new(String::new(), text).files() {
                part(&file);
            }
        }
        digest.finish()
    }
}

impl Configuration {
    /// What this one has otherwise than `before`, as far as that does not go without more.
    pub fn changes(&self, before: &Self) -> Changes {
        Changes::between(before, self)
    }

    /// Names the configuration: the same for the same text and the same flags and variables. Passwords are no part of it, nor is the
    /// content of files that it names.
    pub fn hash(&self) -> String {
        let mut hasher = Hasher::new("configuration");
        let location = format!("{:?}", self.settings.store.location);
        hasher.part(self.written.without("store", "url").as_bytes());
        hasher.part(location.as_bytes());
        let Overrides {
            listen,
            upstream,
            store: _,
            service,
            admin,
            admin_token_file,
            log,
            log_format,
        } = &self.origin.overrides;
        for given in [
            listen,
            upstream,
            service,
            admin,
            admin_token_file,
            log,
            log_format,
        ] {
            let value = given.as_ref().map_or("", |given| given.value.as_str());
            hasher.part(value.as_bytes());
        }
        let digest = hasher.finish();
        digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// From nowhere: there is nothing to read again.
impl From<Settings> for Configuration {
    fn from(settings: Settings) -> Self {
        Self {
            store_files: Digest::default(),
            settings,
            origin: Origin::default(),
            content: Digest::default(),
            written: Written::new(String::new(), String::new()),
        }
    }
}

/// What is in a file, if it is one and can be read. A pipe is left alone: what is read from it once is gone.
fn content(path: &Path) -> Option<Vec<u8>> {
    let is_file = std::fs::metadata(path).ok()?.is_file();
    let file = is_file.then(|| File::open(path).ok())??;
    let mut bytes = Vec::new();
    file.take(CONTENT_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Of a bundle of every authority there is, many times.
const CONTENT_MAX: u64 = 16 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn hash(text: &str, upstream: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f.toml");
        std::fs::write(&path, text).unwrap();
        let overrides = Overrides {
            upstream: Some(Given::new("--upstream", upstream)),
            ..Overrides::default()
        };
        Origin::new(Some(&path), &overrides).load().unwrap().hash()
    }

    #[test]
    fn a_configuration_has_one_name_whatever_its_passwords_are() {
        let of = |password: &str| {
            format!("service = \"s\"\n[store]\nurl = \"redis://:{password}@127.0.0.1\"\n")
        };
        let one = hash(&of("one"), "http://127.0.0.1:1");
        assert_eq!(one, hash(&of("another"), "http://127.0.0.1:1"));
        assert_ne!(one, hash(&of("one"), "http://127.0.0.1:2"));
        let more = of("one") + "[policy]\nretention = \"1h\"";
        assert_ne!(one, hash(&more, "http://127.0.0.1:1"));
        assert_eq!(one.len(), 16);
    }
}
