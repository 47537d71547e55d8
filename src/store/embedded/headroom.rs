//! Disk space kept back for the settlements of what runs when the disk is full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// A file of random-looking bytes that is given up when the disk is full, and made again when there is space.
#[derive(Debug)]
pub(super) struct Headroom {
    path: PathBuf,
}

impl Headroom {
    /// The headroom at `path`.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes it, if there is as much space again beside it: what was just given up is no sign of space.
    ///
    /// # Errors
    ///
    /// There is not; nothing is left behind.
    pub(super) fn make(&self) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == BYTES) {
            return Ok(());
        }
        let written = self.write();
        if written.is_err() {
            self.give_up();
        }
        written
    }

    /// Gives its space back.
    pub(super) fn give_up(&self) {
        let _ = fs::remove_file(&self.path);
    }

    fn write(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        let mut chunk = vec![0; 64 * 1024];
        let mut state = 1_u32;
        for _ in 0..2 * BYTES / chunk.len() as u64 {
            // Not zeros: some file systems keep those for nothing.
            chunk.fill_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            file.write_all(&chunk)?;
        }
        file.sync_data()?;
        file.set_len(BYTES)
    }
}

/// Size of the headroom.
const BYTES: u64 = 4 * 1024 * 1024;
