//! The record file: made, opened, checked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use super::index::Index;
use super::lock::Lock;
use super::tables::{self, Usage};
use crate::idempotency::RecordId;

/// The directory of an embedded store, locked for this process, and how the file in it is opened.
pub(super) struct RecordFile {
    dir: PathBuf,
    path: PathBuf,
    open: Open,
    /// Held as long as the store is: between closing the file and opening it again, too.
    _lock: Lock,
}

/// Opens a database in a file; tells whether it had to be repaired, and so was read and verified as a whole.
type Open = Box<dyn Fn(File) -> Result<(Database, bool), DatabaseError> + Send>;

/// Why an embedded store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error(
        "{}: another process has this store open; an embedded store is of one process alone",
        dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The file is damaged, or is none of idemproxy. It was left where it is.
    #[error(
        "{}: damaged, or no record file of idemproxy: {reason}. Restore it from a backup; or move it away, \
         and every key in it is forgotten, so that a retry of any of them runs again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by a newer version.
    #[error("{}: written by a newer version of idemproxy (format {format}); use that", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// The file was written by a version before 0.1.0.
    #[error(
        "{}: written by a version before 0.1.0 (format {format}); let that one run until its keys have expired, and move the file away",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What could not be made, opened, read or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A record file that is open.
pub(super) struct Opened {
    pub(super) database: Database,
    /// The store's time as it was noted last.
    pub(super) time: u64,
    pub(super) usage: Usage,
    /// Where the records stand.
    pub(super) index: Index,
    /// Claims of processes that are gone.
    pub(super) left: Vec<RecordId>,
}

impl RecordFile {
    /// Locks the directory, and makes it and the file where they are absent.
    pub(super) fn prepare<B: StorageBackend>(
        dir: &Path,
        backend: impl Fn(File) -> Result<B, DatabaseError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        let made: Vec<_> = dir
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
            .collect();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io(dir))?;
        // Else a crash may take the directory away, with all that was synced in it.
        for parent in made.iter().filter_map(|dir| dir.parent()) {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(io(parent))?;
        }
        let lock = Lock::take(dir)?;
        let file = Self {
            dir: dir.to_owned(),
            path: dir.join(super::FILE),
            open: Box::new(move |file| {
                let repaired = Arc::new(AtomicBool::new(false));
                let seen = Arc::clone(&repaired);
                let database = Builder::new()
                    .set_cache_size(CACHE_BYTES)
                    .set_repair_callback(move |_| seen.store(true, Ordering::Relaxed))
                    .create_with_backend(backend(file)?)?;
                Ok((database, repaired.load(Ordering::Relaxed)))
            }),
            _lock: lock,
        };
        match fs::symlink_metadata(&file.path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => file.create()?,
            Err(error) => return Err(io(&file.path)(error)),
        }
        Ok(file)
    }

    /// Opens the file and reads all of it: a page that is not as it was written is found now, and not when its key comes.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Its records are left as they are.
    pub(super) fn open(&self) -> Result<Opened, OpenError> {
        let mut opened = self.read()?;
        let size = self.bytes();
        if size <= COMPACT_BYTES || opened.usage.bytes >= size / 4 {
            return Ok(opened);
        }
        match self.guarded(|| opened.database.compact().map_err(redb::Error::from)) {
            Ok(compacted) => {
                let to = self.bytes();
                tracing::info!(compacted, from = size, to, "record file compacted");
                Ok(opened)
            }
            Err(error) => {
                tracing::warn!(%error, "the record file is not compacted");
                // After a failed write it takes none before it is opened again.
                let _ = self.guarded(|| {
                    drop(opened);
                    Ok(())
                });
                self.read()
            }
        }
    }

    fn read(&self) -> Result<Opened, OpenError> {
        let file = self.handle(&self.path)?;
        let (database, time, (usage, index, left)) = self
            .guarded(|| {
                let (mut database, repaired) = (self.open)(file).map_err(redb::Error::from)?;
                // With two-phase commits it never falls back: what it mends is its own accounts of pages.
                if !repaired && !database.check_integrity()? {
                    tracing::warn!(
                        "the record file's accounts of its pages were mended; no record was lost"
                    );
                }
                let (format, time) =
                    tables::about(&database)?.ok_or_else(|| corrupted("it holds other tables"))?;
                // What another format means by its tables is not for this version to read.
                let found = if format == tables::FORMAT {
                    tables::survey(&database)?
                } else {
                    Default::default()
                };
                Ok((database, (format, time), found))
            })
            .and_then(|(database, (format, time), found)| {
                if format == tables::FORMAT {
                    return Ok((database, time, found));
                }
                let path = self.path.clone();
                Err(if format > tables::FORMAT {
                    OpenError::Newer { path, format }
                } else {
                    OpenError::Older { path, format }
                })
            })?;
        Ok(Opened {
            database,
            time,
            usage,
            index,
            left,
        })
    }

    /// Opens the file again after a write failed, in the process that had it open.
    ///
    /// # Errors
    ///
    /// Why it does not open now.
    pub(super) fn reopen(&self) -> Result<Database, OpenError> {
        let file = self.handle(&self.path)?;
        self.guarded(|| Ok((self.open)(file).map_err(redb::Error::from)?.0))
    }

    /// Disk space of the file, bytes; what was never written does not count.
    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the file under another name first: a crash on the way leaves no file that is refused later.
    fn create(&self) -> Result<(), OpenError> {
        let path = self.dir.join("records.redb.new");
        let io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let file = options()
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(io)?;
        self.guarded(|| {
            let (database, _) = (self.open)(file).map_err(redb::Error::from)?;
            let mut txn = database.begin_write()?;
            txn.set_two_phase_commit(true);
            tables::create(&txn)?;
            Ok(txn.commit()?)
        })?;
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(io)?;
        fs::rename(&path, &self.path).map_err(io)?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io)?;
        tracing::info!(path = %self.path.display(), "new record file");
        Ok(())
    }

    fn handle(&self, path: &Path) -> Result<File, OpenError> {
        let opened = options()
            .open(path)
            .and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|source| OpenError::Io {
            path: path.to_owned(),
            source,
        })?;
        // An empty one would be made a new database: but it was one, since it has this name.
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(self.fault(corrupted("it is empty, or no regular file")));
        }
        Ok(file)
    }

    /// Runs `work`, and takes a panic for damage: the database panics on some.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, OpenError> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(|error| self.fault(error)),
            Err(_) => Err(self.fault(corrupted("reading it failed an assertion"))),
        }
    }

    fn fault(&self, error: redb::Error) -> OpenError {
        let path = self.path.clone();
        match error {
            redb::Error::DatabaseAlreadyOpen => OpenError::InUse {
                dir: self.dir.clone(),
            },
            redb::Error::Io(source)
                if !matches!(
                    source.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                OpenError::Io { path, source }
            }
            error => OpenError::Damaged {
                path,
                reason: error.to_string(),
            },
        }
    }
}

fn corrupted(reason: &str) -> redb::Error {
    StorageError::Corrupted(reason.to_owned()).into()
}

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Pages kept in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Size from which a file that is mostly free is compacted when it is opened.
const COMPACT_BYTES: u64 = 16 * 1024 * 1024;
