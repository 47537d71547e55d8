//! A disk that keeps what was synced, and of the rest what chance leaves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use idemproxy::store::{Embedded, OpenError, StoreSettings};
use redb::{DatabaseError, StorageBackend};

use super::chance::Chance;
use super::mishap::{Cut, Figures, Mood, Sector, torn};

/// A disk of sectors of 512 bytes below one file.
///
/// The file itself is what the operating system shows; beside it is kept what each sector was when it was synced last, and all that was
/// written to it since. When the power comes back, each such sector is as it was synced, or as it was written at some time since, or torn
/// between two of these, or garbage; and the file has one of the lengths that it had. The first sector alone is never garbage: it holds the file's
/// header, which is written over in place, and redb counts on bytes that a write does not change to stay.
#[derive(Debug, Default)]
pub struct Disk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    /// It was empty when it was opened, and gets its name when it is whole and synced.
    nameless: bool,
    len: u64,
    /// The length as synced last, and the later ones.
    lens: Vec<u64>,
    /// Unsynced sectors: as synced last, and as written since.
    sectors: BTreeMap<u64, Vec<Sector>>,
    off: bool,
    fuse: Option<(Cut, usize)>,
    lies: bool,
    figures: Figures,
}

/// One opening of the file on it.
#[derive(Debug)]
struct DiskFile(Arc<Disk>);

impl Disk {
    /// Opens a store on it.
    pub fn open(
        self: &Arc<Self>,
        dir: &Path,
        settings: &StoreSettings,
    ) -> Result<Embedded, OpenError> {
        let disk = Arc::clone(self);
        Embedded::open_with(dir, settings, move |file| {
            disk.insert(file)?;
            Ok(DiskFile(Arc::clone(&disk)))
        })
    }

    /// From now on the power goes at the one after so many others.
    pub fn arm(&self, cut: Cut, after: usize) {
        self.state().fuse = Some((cut, after));
    }

    pub fn disarm(&self) {
        self.state().fuse = None;
    }

    /// From now on syncs say that they are done, and do nothing.
    pub fn lie(&self, lies: bool) {
        self.state().lies = lies;
    }

    /// The power goes now.
    pub fn cut(&self) {
        self.state().off = true;
    }

    pub fn is_off(&self) -> bool {
        self.state().off
    }

    pub fn figures(&self) -> Figures {
        self.state().figures.clone()
    }

    /// The power comes back; what was not synced is as chance has it.
    pub fn power_on(&self, mood: Mood, chance: &mut Chance) -> io::Result<()> {
        let mut state = self.state();
        state.off = false;
        state.fuse = None;
        let lens = std::mem::take(&mut state.lens);
        let sectors = std::mem::take(&mut state.sectors);
        let Some(file) = state.file.take() else {
            return Ok(());
        };
        let last = *lens.last().expect("the first is that of the opening");
        let len = if mood.header_kept {
            last
        } else {
            chance.pick(&lens)
        };
        state.figures.lengths += usize::from(len != last);
        file.set_len(len)?;
        for (number, versions) in sectors {
            let at = number * SECTOR;
            if at >= len {
                continue;
            }
            let header = number == 0;
            let newest = versions.last().expect("what was written");
            let left = if header && mood.header_kept {
                newest.clone()
            } else if chance.percent(mood.torn) {
                state.figures.torn += 1;
                torn(&versions, header, chance)
            } else if chance.percent(mood.kept) {
                state.figures.kept += 1;
                // Mostly as written last.
                if mood.header_kept || chance.percent(80) {
                    newest.clone()
                } else {
                    versions[chance.within(1..versions.len())].clone()
                }
            } else {
                state.figures.dropped += 1;
                versions[0].clone()
            };
            let end = left.len().min((len - at) as usize);
            file.write_all_at(&left[..end], at)?;
        }
        Ok(())
    }

    fn insert(&self, file: File) -> Result<(), DatabaseError> {
        let mut state = self.state();
        let metadata = |error: io::Error| DatabaseError::from(redb::StorageError::from(error));
        let len = file.metadata().map_err(metadata)?.len();
        // A new file is synced as a whole before it is given its name.
        if state.file.is_none() || len == 0 || state.nameless {
            state.sectors.clear();
            state.lens = vec![len];
        }
        state.nameless = len == 0;
        state.len = len;
        state.file = Some(file);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn file(&self) -> io::Result<&File> {
        match &self.file {
            Some(file) if !self.off => Ok(file),
            _ => Err(io::Error::other("there is no power")),
        }
    }

    /// Whether the power goes at this operation.
    fn burns(&mut self, kind: Cut) -> bool {
        self.figures.operations += 1;
        match &mut self.fuse {
            Some((cut, 0)) if *cut == kind || *cut == Cut::Any => {
                self.off = true;
                let count = match kind {
                    Cut::Write => &mut self.figures.cut_at_write,
                    Cut::Sync => &mut self.figures.cut_at_sync,
                    _ => &mut self.figures.cut_at_resize,
                };
                *count += 1;
                true
            }
            Some((cut, left)) if *cut == kind || *cut == Cut::Any => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    /// Keeps what sector `number` is, before it is written to.
    fn keep(&mut self, number: u64) -> io::Result<()> {
        if self.sectors.contains_key(&number) {
            return Ok(());
        }
        let sector = self.look(number)?;
        self.sectors.insert(number, vec![sector]);
        Ok(())
    }

    fn look(&self, number: u64) -> io::Result<Sector> {
        let mut sector = vec![0; SECTOR as usize];
        let at = number * SECTOR;
        if at < self.len {
            let end = sector.len().min((self.len - at) as usize);
            self.file()?.read_exact_at(&mut sector[..end], at)?;
        }
        Ok(sector.into())
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.0.state();
        state.file()?;
        Ok(state.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.state().file()?.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        state.file()?;
        if len < state.len {
            for number in len.div_ceil(SECTOR)..state.len.div_ceil(SECTOR) {
                state.keep(number)?;
                let zeros = vec![0; SECTOR as usize].into();
                state.sectors.entry(number).or_default().push(zeros);
            }
            state.figures.shrunk += 1;
        } else if len > state.len {
            state.figures.grown += 1;
        }
        state.file()?.set_len(len)?;
        state.len = len;
        state.lens.push(len);
        if state.burns(Cut::Resize) {
            state.file().map(|_| ())
        } else {
            Ok(())
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.state();
        if state.burns(Cut::Sync) || state.off {
            return state.file().map(|_| ());
        }
        if state.lies {
            state.figures.lied += 1;
            return Ok(());
        }
        state.sectors.clear();
        state.lens = vec![state.len];
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.state();
        state.file()?;
        let end = offset + data.len() as u64;
        if end > state.len {
            return Err(io::Error::other("written beyond the end"));
        }
        let numbers = offset / SECTOR..end.div_ceil(SECTOR);
        for number in numbers.clone() {
            state.keep(number)?;
        }
        state.file()?.write_all_at(data, offset)?;
        for number in numbers {
            let sector = state.look(number)?;
            state.sectors.entry(number).or_default().push(sector);
        }
        if state.burns(Cut::Write) {
            state.file().map(|_| ())
        } else {
            Ok(())
        }
    }
}

const SECTOR: u64 = 512;
