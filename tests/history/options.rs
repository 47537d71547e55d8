//! How long a run is, and where its chance comes from.

use std::str::FromStr;

use ring::digest::{SHA256, digest as sha256};

/// What the environment says of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keys over both stores together.
    pub keys: usize,
    /// Where all chance comes from. The order of what happens still depends on the machine.
    pub seed: u64,
    /// The program under test.
    pub program: String,
}

impl Options {
    /// Reads `IDEMPROXY_HISTORY_KEYS`, `IDEMPROXY_HISTORY_SEED` and `IDEMPROXY_BIN`.
    pub fn from_environment() -> Self {
        Self {
            keys: read("IDEMPROXY_HISTORY_KEYS").unwrap_or(3_000),
            seed: read("IDEMPROXY_HISTORY_SEED")
                .unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64),
            program: read("IDEMPROXY_BIN")
                .unwrap_or_else(|| env!("CARGO_BIN_EXE_idemproxy").to_owned()),
        }
    }
}

/// A source of chance, the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// One of its own for each purpose: `names` are parts of what it is for.
    pub fn new(seed: u64, names: &[&[u8]]) -> Self {
        let parts = names.iter().flat_map(|name| [b"/", *name].concat());
        Self(seed ^ digest(&parts.collect::<Vec<_>>()))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` up to, and without, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Whether it falls so, in so many of a hundred.
    pub fn percent(&mut self, share: u64) -> bool {
        self.next() % 100 < share
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Tells bytes apart.
pub fn digest(bytes: &[u8]) -> u64 {
    let digest = sha256(&SHA256, bytes);
    u64::from_be_bytes(digest.as_ref()[..8].try_into().unwrap())
}

fn read<T: FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    let read = value.parse().ok();
    Some(read.unwrap_or_else(|| panic!("{name}: {value:?}")))
}
