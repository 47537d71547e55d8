//! That a directory is of one process.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::file::{OpenError, options};

/// The lock of a directory, held by this process.
///
/// It is unlocked, and not only closed: a program that this one starts has that file, too, from its beginning until it
/// is another program, and the directory would be in use for so long.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Locks the directory, if nobody has it.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let file = options().create(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
                dir: dir.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where that fails, it is let go as the file is closed.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_free_once_its_lock_is_let_go_whoever_has_the_file_yet() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let inherited = lock.0.try_clone().unwrap();
        let denied = Lock::take(dir.path()).unwrap_err();
        assert!(matches!(denied, OpenError::InUse { .. }));
        drop(lock);
        assert!(Lock::take(dir.path()).is_ok());
        drop(inherited);
    }
}
