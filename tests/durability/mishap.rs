//! What a power loss does to a disk.

use super::chance::Chance;

pub type Sector = Box<[u8]>;

/// Where the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At any of the following.
    Any,
    /// At a write: some of it may be on the disk.
    Write,
    /// In the middle of a sync.
    Sync,
    /// At a change of the file's length.
    Resize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub operations: usize,
    pub cut_at_write: usize,
    pub cut_at_sync: usize,
    pub cut_at_resize: usize,
    pub grown: usize,
    pub shrunk: usize,
    /// Unsynced sectors that were there, that were not, and that were neither.
    pub kept: usize,
    pub dropped: usize,
    pub torn: usize,
    /// Files whose length went back.
    pub lengths: usize,
    pub lied: usize,
}

/// What the power loss does to sectors that were not synced.
#[derive(Clone, Copy, Debug)]
pub struct Mood {
    /// How many of a hundred are on the disk.
    pub kept: usize,
    /// How many of a hundred are torn.
    pub torn: usize,
    /// Whether the first sector and the length are always there as written last, and others as written last or not at all.
    pub header_kept: bool,
}

impl Mood {
    /// From nothing kept to everything kept, and all between.
    pub fn any(chance: &mut Chance) -> Self {
        Self {
            kept: chance.pick(&[0, 5, 50, 50, 95, 100]),
            torn: chance.pick(&[0, 0, 5, 50]),
            header_kept: false,
        }
    }
}

/// A sector that was being written when the power went.
pub fn torn(versions: &[Sector], header: bool, chance: &mut Chance) -> Sector {
    let (mut sector, other) = (
        versions[chance.below(versions.len())].clone(),
        &versions[versions.len() - 1],
    );
    let half = sector.len() / 2;
    match chance.below(if header { 3 } else { 4 }) {
        0 => sector[..half].copy_from_slice(&other[..half]),
        1 => sector[half..].copy_from_slice(&other[half..]),
        2 => {
            let cut = chance.below(other.len());
            sector[..cut].copy_from_slice(&other[..cut]);
        }
        _ => chance.fill(&mut sector),
    }
    sector
}
