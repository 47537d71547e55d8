//! The upstreams of a configuration.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use crate::idempotency::digest::{Digest, Hasher};
use crate::upstream::{Upstream, UpstreamSettings};

/// The upstreams of a configuration, by their index.
#[derive(Clone)]
pub(super) struct Upstreams(Arc<[Made]>);

/// An upstream, and what it was made of.
struct Made {
    settings: UpstreamSettings,
    files: Digest,
    upstream: Upstream,
}

impl Upstreams {
    /// Those of `settings`. One that was there `before`, with the same certificates, stays as it is, with its connections. One that is no
    /// longer there closes when the last request to it ended.
    pub(super) fn new(
        settings: &[UpstreamSettings],
        before: Option<&Self>,
        lanes: usize,
    ) -> Result<Self, StartError> {
        let make = |settings: &UpstreamSettings| {
            let files = files(settings);
            let same = |made: &&Made| made.settings == *settings && made.files == files;
            let upstream = match before.and_then(|before| before.0.iter().find(same)) {
                Some(made) => made.upstream.clone(),
                None => {
                    Upstream::with_lanes(settings, lanes).map_err(|error| StartError::Upstream {
                        origin: settings.origin.clone(),
                        error: Box::new(error),
                    })?
                }
            };
            Ok(Made {
                settings: settings.clone(),
                files,
                upstream,
            })
        };
        settings
            .iter()
            .map(make)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Upstream> {
        self.0.get(index).map(|made| &made.upstream)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.0.iter().map(|made| &made.upstream)
    }
}

/// What the certificates and keys say that an upstream is made with.
fn files(settings: &UpstreamSettings) -> Digest {
    let mut digest = Hasher::new("files of an upstream");
    for path in [
        &settings.tls.ca_file,
        &settings.tls.cert_file,
        &settings.tls.key_file,
    ] {
        let content = path.as_deref().map(read);
        digest.part(&content.unwrap_or_default());
    }
    digest.finish()
}

/// What cannot be read is told by whoever needs it.
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}
