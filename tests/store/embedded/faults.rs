//! A file on a disk that can be full, slow, or both.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use idemproxy::store::{Embedded, StoreSettings};
use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// A disk under a test's control, through every opening of the file on it.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Bytes up to which the file may be written; none for no limit.
    quota: Mutex<Option<u64>>,
    /// Whether every sync waits.
    held: Mutex<bool>,
    released: Condvar,
    /// Which reads fail.
    reads: Mutex<Reads>,
    /// Syncs begun.
    pub(super) syncs: AtomicUsize,
    /// The file's end as written so far.
    pub(super) written: AtomicU64,
    /// Writes refused.
    pub(super) refused: AtomicUsize,
}

/// Which reads fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Reads {
    /// None.
    #[default]
    Whole,
    /// The next sync but so many tells of a failure once it is done; and then the read after so many others.
    OneAfterSync(usize, usize),
    /// The one after so many others.
    One(usize),
    /// All of them, and all writes.
    None,
}

/// One opening of a file on it.
#[derive(Debug)]
pub(super) struct DiskFile {
    file: FileBackend,
    disk: Arc<Disk>,
}

impl Disk {
    /// Opens a store on it.
    pub(super) fn open(self: &Arc<Self>, dir: &Path, settings: &StoreSettings) -> Embedded {
        let disk = Arc::clone(self);
        let backend = move |file: File| -> Result<DiskFile, DatabaseError> {
            let disk = Arc::clone(&disk);
            FileBackend::new(file).map(|file| DiskFile { file, disk })
        };
        Embedded::open_with(dir, settings, backend).unwrap()
    }

    /// From now on no write may end beyond `quota`.
    pub(super) fn limit(&self, quota: Option<u64>) {
        *self.quota.lock().unwrap() = quota;
    }

    /// From now on reads fail so.
    pub(super) fn read(&self, reads: Reads) {
        *self.reads.lock().unwrap() = reads;
    }

    /// From now on every sync waits, until it is said that none does.
    pub(super) fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut reads = self.disk.reads.lock().unwrap();
        match *reads {
            Reads::One(0) => *reads = Reads::Whole,
            Reads::One(others) => {
                *reads = Reads::One(others - 1);
                return self.file.read(offset, out);
            }
            Reads::None => {}
            Reads::Whole | Reads::OneAfterSync(..) => return self.file.read(offset, out),
        }
        Err(io::Error::other("a bad sector"))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.syncs.fetch_add(1, Ordering::SeqCst);
        let held = self.disk.held.lock().unwrap();
        drop(self.disk.released.wait_while(held, |held| *held).unwrap());
        self.file.sync_data()?;
        let mut reads = self.disk.reads.lock().unwrap();
        match *reads {
            Reads::OneAfterSync(0, read) => {
                *reads = Reads::One(read);
                return Err(io::Error::other("nobody knows what was written"));
            }
            Reads::OneAfterSync(syncs, read) => *reads = Reads::OneAfterSync(syncs - 1, read),
            _ => {}
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if matches!(*self.disk.reads.lock().unwrap(), Reads::None) {
            return Err(io::Error::other("a disk that is gone"));
        }
        let end = offset + data.len() as u64;
        if self
            .disk
            .quota
            .lock()
            .unwrap()
            .is_some_and(|quota| end > quota)
        {
            self.disk.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.written.fetch_max(end, Ordering::SeqCst);
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
