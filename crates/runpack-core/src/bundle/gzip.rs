//! One gzip member, unpacked in bounded steps (RFC 1952; specification, section 8).
//!
//! Only the deflate stream in the middle may be spelled freely. The ten header bytes are fixed, CRC and
//! size are checked here, and nothing may follow (threats B26, B28). Output comes in windows of at most
//! [`WINDOW_BYTES`] however far a stream would expand (B27), and what a broken stream gives before it
//! breaks is handed out first, so that a verdict does not depend on how the input was cut.

use std::io;

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::Compression;
use crate::finding::{Code, Finding};

/// The only header: deflate, no flags, no time, no operating system.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

const TRAILER_BYTES: usize = 8;

/// The most output of one step.
const WINDOW_BYTES: usize = 128 * 1024;

/// Unpacks a member as it comes.
#[derive(Debug)]
pub(super) struct Gunzip {
    stage: Stage,
    inflate: Decompress,
    window: Box<[u8]>,
    check: Check,
}

#[derive(Debug)]
enum Stage {
    Header(Gathered<10>),
    Deflate,
    /// The deflate stream broke; its last output has been handed out.
    Broken,
    /// The deflate stream has ended; that has not been told yet.
    Ended,
    Trailer(Gathered<TRAILER_BYTES>),
    After,
}

/// What a step gave.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// More bytes of the archive; never none.
    Output(&'a [u8]),
    /// There is no more of the archive.
    ArchiveEnd,
    /// All input is used up.
    NeedInput,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Header(Gathered::default()),
            inflate: Decompress::new(false),
            window: vec![0; WINDOW_BYTES].into_boxed_slice(),
            check: Check::default(),
        }
    }

    /// Takes from the front of `input` what gives the next output.
    ///
    /// To be called until it needs input. An error ends the stream.
    pub(super) fn step(&mut self, input: &mut &[u8]) -> Result<Step<'_>, Finding> {
        loop {
            match &mut self.stage {
                Stage::Header(header) => match header.gather(input) {
                    None => return Ok(Step::NeedInput),
                    Some(HEADER) => self.stage = Stage::Deflate,
                    Some(_) => return Err(broken("the gzip header is not the one of a bundle")),
                },
                Stage::Deflate => {
                    let before = (self.inflate.total_in(), self.inflate.total_out());
                    let result =
                        self.inflate
                            .decompress(input, &mut self.window, FlushDecompress::None);
                    // The counts are right after an error too.
                    let used = difference(self.inflate.total_in(), before.0);
                    let made = difference(self.inflate.total_out(), before.1);
                    *input = input.get(used..).unwrap_or_default();
                    match result {
                        Ok(Status::StreamEnd) => self.stage = Stage::Ended,
                        Ok(Status::Ok | Status::BufError) if made == 0 && input.is_empty() => {
                            return Ok(Step::NeedInput);
                        }
                        // Neither input taken nor output made, and there is input: no stream does this.
                        Ok(Status::Ok | Status::BufError) if made == 0 && used == 0 => {
                            self.stage = Stage::Broken;
                        }
                        Ok(Status::Ok | Status::BufError) => {}
                        Err(_) => self.stage = Stage::Broken,
                    }
                    if made > 0 {
                        let output = self.window.get(..made).unwrap_or_default();
                        self.check.update(output);
                        return Ok(Step::Output(output));
                    }
                }
                Stage::Broken => return Err(broken("the deflate data is damaged")),
                Stage::Ended => {
                    self.stage = Stage::Trailer(Gathered::default());
                    return Ok(Step::ArchiveEnd);
                }
                Stage::Trailer(trailer) => match trailer.gather(input) {
                    None => return Ok(Step::NeedInput),
                    Some(trailer) if trailer == self.check.trailer() => self.stage = Stage::After,
                    Some(_) => return Err(broken("the CRC or the size does not hold")),
                },
                Stage::After if input.is_empty() => return Ok(Step::NeedInput),
                Stage::After => {
                    return Err(Finding::new(
                        Code::BundleTrailing,
                        "something follows the end of the gzip member",
                    ));
                }
            }
        }
    }

    /// Whether the member is complete, or what is missing.
    pub(super) fn finish(&self) -> Result<(), Finding> {
        let missing = match self.stage {
            Stage::After => return Ok(()),
            Stage::Header(_) => "the input ends inside the gzip header",
            Stage::Deflate | Stage::Broken => "the input ends inside the deflate data",
            Stage::Ended | Stage::Trailer(_) => "the input ends inside the gzip trailer",
        };
        Err(Finding::new(Code::BundleTruncated, missing))
    }
}

fn broken(detail: &str) -> Finding {
    Finding::new(Code::BundleGzip, detail)
}

fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// A few bytes that may come one by one.
#[derive(Debug)]
struct Gathered<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Default for Gathered<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            filled: 0,
        }
    }
}

impl<const N: usize> Gathered<N> {
    /// Takes from `input` what is missing; all bytes once they are there.
    fn gather(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        for slot in self.bytes.iter_mut().skip(self.filled) {
            let (first, rest) = input.split_first()?;
            *slot = *first;
            *input = rest;
            self.filled = self.filled.saturating_add(1);
        }
        Some(self.bytes)
    }
}

/// CRC-32 and size of what passed.
#[derive(Debug, Default)]
struct Check {
    crc: Crc,
    bytes: u64,
}

impl Check {
    fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.bytes = self.bytes.wrapping_add(crate::count::len_u64(bytes));
    }

    fn trailer(&self) -> [u8; TRAILER_BYTES] {
        let size = self.bytes & u64::from(u32::MAX);
        (size << 32 | u64::from(self.crc.sum())).to_le_bytes()
    }
}

/// Packs a member.
#[derive(Debug)]
pub(super) struct Gzip {
    deflate: Compress,
    check: Check,
}

impl Gzip {
    /// Starts a member; its header goes to `out`.
    pub(super) fn new(compression: Compression, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&HEADER);
        let level = match compression {
            Compression::Stored => 0,
            Compression::Fast => 2,
            Compression::Balanced => 6,
            Compression::Best => 9,
        };
        Self {
            deflate: Compress::new(flate2::Compression::new(level), false),
            check: Check::default(),
        }
    }

    /// Packs `bytes`; what comes of them goes to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.check.update(bytes);
        self.run(bytes, FlushCompress::None, out)
    }

    /// Ends the member.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.run(&[], FlushCompress::Finish, out)?;
        out.extend_from_slice(&self.check.trailer());
        Ok(())
    }

    fn run(&mut self, mut bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            out.reserve(WINDOW_BYTES / 4);
            let before = (self.deflate.total_in(), self.deflate.total_out());
            let status = self
                .deflate
                .compress_vec(bytes, out, flush)
                .map_err(io::Error::other)?;
            let used = difference(self.deflate.total_in(), before.0);
            bytes = bytes.get(used..).unwrap_or_default();
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                // Room left over means that there was nothing more to write.
                _ => bytes.is_empty() && out.len() < out.capacity(),
            };
            if done {
                return Ok(());
            }
            if used == 0 && self.deflate.total_out() == before.1 {
                return Err(io::Error::other("the compressor made no progress"));
            }
        }
    }
}
