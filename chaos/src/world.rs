//! The world of one seed: a source of numbers, two clocks and a disk, all simulated. Nothing here
//! reads a real clock or a real disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hindcast_log::{Disk, SimDisk};
use hindcast_model::UnixMicros;
use uuid::Uuid;

/// Splitmix64: every number of a seed follows from it.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 when there is none.
    pub const fn below(&mut self, bound: u64) -> u64 {
        let number = self.number();
        if bound == 0 { 0 } else { number % bound }
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of the choices.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let at = self.below(choices.len() as u64);
        choices.get(usize::try_from(at).unwrap_or(0))
    }
}

/// The wall clock, which may be set, and the monotonic one.
#[derive(Debug, Clone)]
pub struct Clocks {
    pub wall: u64,
    pub monotonic: u64,
}

impl Clocks {
    /// Time passes; now and then somebody sets the wall clock.
    pub const fn pass(&mut self, random: &mut Random) {
        let micros = match random.below(10) {
            0 => random.below(90_000_000),
            1..4 => random.below(1_000_000),
            _ => random.below(2_000),
        };
        self.monotonic += micros;
        self.wall += micros;
        match random.below(60) {
            0 => self.wall += random.below(3_600_000_000),
            1 => self.wall -= random.below(600_000_000),
            _ => {}
        }
    }
}

/// Everything that the log under test stands on.
pub struct World {
    pub seed: u64,
    pub random: Random,
    pub clocks: Clocks,
    pub sim: SimDisk,
    pub disk: Arc<dyn Disk>,
}

impl World {
    /// The world of a seed, with an empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let sim = SimDisk::new(seed ^ 0x00d1_5c00);
        Self {
            seed,
            random: Random::new(seed),
            clocks: Clocks {
                wall: 1_800_000_000_000_000,
                monotonic: 5,
            },
            disk: Arc::new(sim.clone()),
            sim,
        }
    }

    /// The id that the log gets when it is begun.
    #[must_use]
    pub fn log_id(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.seed) + (1 << 100))
    }

    /// What the wall clock says.
    #[must_use]
    pub const fn wall(&self) -> UnixMicros {
        UnixMicros(self.clocks.wall)
    }

    /// Every segment with its bytes, in order.
    pub fn segments(&self) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let dir = data_dir().join("wal");
        let mut found = Vec::new();
        for name in self.disk.list(&dir)? {
            if !name.ends_with(".seg") {
                continue;
            }
            let path = dir.join(name);
            let file = self.disk.open(&path, false)?;
            let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
            file.read_at(&mut bytes, 0)?;
            found.push((path, bytes));
        }
        Ok(found)
    }
}

/// Where the log lies on the simulated disk.
#[must_use]
pub fn data_dir() -> &'static Path {
    Path::new("/data")
}
