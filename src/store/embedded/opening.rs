//! How the file is opened, and what is known then.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use redb::{DatabaseError, StorageBackend};
use tokio::sync::watch;

use super::cell::Witness;
use super::clock::Clock;
use super::file::{OpenError, RecordFile};
use super::headroom::Headroom;
use super::leases::Leases;
use super::recent::Recent;
use super::slot::Slot;
use super::status::Status;
use super::upkeep::{Last, Trouble};
use super::writer::Writer;
use crate::store::StoreSettings;

impl Writer {
    /// Opens the store in `dir`, and keeps about `recent` bytes of what is written in memory. Brings back, too, where readers find the
    /// database.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub(super) fn open<B: StorageBackend>(
        dir: &Path,
        settings: &StoreSettings,
        backend: impl Fn(File) -> Result<B, DatabaseError> + Send + 'static,
        recent: usize,
    ) -> Result<(Self, watch::Receiver<Slot>), OpenError> {
        let file = RecordFile::prepare(dir, backend)?;
        let opened = file.open()?;
        let headroom = Headroom::at(dir.join("headroom"));
        let trouble = match headroom.make() {
            Ok(()) => Trouble::None,
            Err(error) => Trouble::NoClaims(error.to_string()),
        };
        let witness = Arc::new(Witness {
            owner: uuid::Uuid::now_v7().into_bytes(),
            clock: Clock::starting(opened.time),
            leases: Leases::default(),
            index: opened.index,
            recent: Recent::new(recent),
            codec: settings.codec.clone(),
        });
        let (slot, database) = watch::channel(Slot::Open(Arc::new(opened.database)));
        let now = Instant::now();
        let mut writer = Self {
            file,
            headroom,
            slot,
            witness,
            status: Arc::new(Status::default()),
            sync: settings.sync,
            max_bytes: settings.max_bytes,
            usage: opened.usage,
            trouble,
            doubtful: None,
            last: Last {
                swept: now,
                noted: now,
                mended: now,
                unsynced: None,
                failed: None,
            },
            failures: 0,
            together: 0,
            unmended: 0,
        };
        writer.settle_left(&opened.left);
        writer.publish();
        Ok((writer, database))
    }
}
