//! The files that are measured on, the same at every run.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use clap::ValueEnum;

use crate::command::Result;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The shape of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// 10,000 files of 64 KiB
    Small,
    /// 4,000 files from 1 KiB to 4 MiB, about 1.9 GB
    Mixed,
    /// 4 files of 1 GiB
    Large,
    /// 1 file of 4 GiB
    Single,
    /// 10,000 files of 16 KiB, at a bucket
    Tiny,
    /// 1,000 files of 1 MiB, at a bucket
    Medium,
}

impl Shape {
    /// How many times as fast as openssl verifying has to be.
    pub(super) fn wanted(self) -> f64 {
        match self {
            Shape::Small => 1.3,
            Shape::Mixed => 1.25,
            Shape::Large | Shape::Tiny | Shape::Medium => 1.0,
            Shape::Single => 1.9,
        }
    }
}

/// A shape with its numbers.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) shape: Shape,
    files: u64,
    /// The size of each file; `None` where sizes are drawn.
    bytes: Option<u64>,
}

impl Workload {
    /// The workload; a quick one has a tenth of the data.
    pub(super) fn new(shape: Shape, is_quick: bool) -> Self {
        let (files, bytes) = match shape {
            Shape::Small => (10_000, Some(64 * KIB)),
            Shape::Mixed => (4_000, None),
            Shape::Large => (4, Some(GIB)),
            Shape::Single => (1, Some(4 * GIB)),
            Shape::Tiny => (10_000, Some(16 * KIB)),
            Shape::Medium => (1_000, Some(MIB)),
        };
        let is_many = files > 10;
        Self {
            shape,
            files: if is_quick && is_many {
                files / 10
            } else {
                files
            },
            bytes: bytes.map(|bytes| {
                if is_quick && !is_many {
                    bytes / 10
                } else {
                    bytes
                }
            }),
        }
    }

    /// Writes the files, and `spec.json` beside them, and makes the disk settle.
    pub(super) fn generate(&self, directory: &Path) -> Result {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut block: Vec<u8> = Vec::new();
        while u64::try_from(block.len())? < MIB {
            block.extend(random.next().to_le_bytes());
        }
        for number in 0..self.files {
            let below = directory.join(format!("d{:03}", number / 100));
            fs::create_dir_all(&below)?;
            let file = File::create(below.join(format!("f{number:05}.bin")))?;
            let bytes = self.bytes.unwrap_or_else(|| random.size());
            fill(file, bytes, &mut block, &mut random)?;
        }
        fs::write(
            directory.join("spec.json"),
            "{\"made_by\":\"cargo xtask bench\"}\n",
        )?;
        File::open(directory)?.sync_all()?;
        Ok(())
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files;
        match self.bytes {
            None => write!(f, "{files} files of mixed sizes"),
            Some(bytes) if bytes < MIB => write!(f, "{files} x {} KiB", bytes / KIB),
            Some(bytes) if bytes % GIB == 0 => write!(f, "{files} x {} GiB", bytes / GIB),
            Some(bytes) => write!(f, "{files} x {} MiB", bytes / MIB),
        }
    }
}

/// Writes blocks that differ from each other and that no compressor can shorten.
fn fill(mut file: File, mut bytes: u64, block: &mut [u8], random: &mut Random) -> Result {
    while bytes > 0 {
        if let Some(stamp) = block.first_chunk_mut() {
            *stamp = random.next().to_le_bytes();
        }
        let count = usize::try_from(bytes.min(MIB))?;
        let part = block.get(..count).unwrap_or(block);
        file.write_all(part)?;
        bytes = bytes.saturating_sub(u64::try_from(part.len())?);
    }
    Ok(())
}

/// Marsaglia's xorshift: fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A size from about 1 KiB to about 4 MiB, all orders of magnitude equally likely.
    fn size(&mut self) -> u64 {
        let octave = 936_u64 << (self.next() % 12);
        octave.saturating_add(self.next().checked_rem(octave).unwrap_or(0))
    }
}

/// Writes the paths of a pack's artifacts to a file, each ended by NUL, and yields how many there are.
pub(super) fn list(pack: &Path, to: &Path) -> Result<usize> {
    let mut text = Vec::new();
    let mut count = 0_usize;
    collect(pack, &mut text, &mut count)?;
    fs::write(to, text)?;
    Ok(count)
}

fn collect(directory: &Path, text: &mut Vec<u8>, count: &mut usize) -> Result {
    for entry in directory.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), text, count)?;
        } else if entry.file_name() != "manifest.json" {
            text.extend(entry.path().as_os_str().as_encoded_bytes());
            text.push(0);
            *count = count.saturating_add(1);
        }
    }
    Ok(())
}
