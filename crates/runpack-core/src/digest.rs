//! SHA-256 (FIPS 180-4), the only digest of the format, behind one small interface that takes many streams.
//!
//! Everything that hashes goes through [`Hasher`] or [`update_many`]. One stream is compressed by the
//! `sha2` crate, with the processor's SHA instructions where it has them (found out at run time). Many
//! streams are compressed sixteen at a time in the lanes of AVX-512 registers where the processor has
//! those, which is about twice as fast on one core; that path is held against `sha2` by a property
//! test, and [`hardware`] says what this machine uses.

#[cfg(target_arch = "x86_64")]
mod wide;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A SHA-256 digest: 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// A digest from its 32 raw bytes.
    pub const fn from_bytes(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(DigestError);
        }
        let mut raw = [0u8; 32];
        for (byte, [high, low]) in raw.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(raw))
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Ok(digit.wrapping_sub(b'a').wrapping_add(10)),
        _ => Err(DigestError),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            }
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::from_string(deserializer)
    }
}

/// One SHA-256 stream.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    /// The begin of a block that is not full yet.
    pending: Block,
    pending_bytes: usize,
    bytes: u64,
}

/// The chaining value of FIPS 180-4, section 6.2.
type State = [u32; 8];
/// A message block.
type Block = [u8; BLOCK_BYTES];

const BLOCK_BYTES: usize = 64;

/// FIPS 180-4, section 5.3.3.
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

impl Default for Hasher {
    fn default() -> Self {
        Self {
            state: INITIAL,
            pending: [0; BLOCK_BYTES],
            pending_bytes: 0,
            bytes: 0,
        }
    }
}

impl Hasher {
    /// A stream that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances the stream by `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, tail) = self.align(bytes).as_chunks();
        sha2::block_api::compress256(&mut self.state, blocks);
        self.keep(tail);
    }

    /// The digest of all that was seen.
    pub fn finish(mut self) -> Digest {
        // FIPS 180-4, section 5.1.1: a bit, zeros, and the length in bits.
        let bits = self.bytes.wrapping_mul(8).to_be_bytes();
        let to_length = BLOCK_BYTES.saturating_sub(bits.len());
        let used = self.pending_bytes.saturating_add(1);
        let zeros = if used <= to_length {
            to_length.saturating_sub(used)
        } else {
            BLOCK_BYTES.saturating_add(to_length).saturating_sub(used)
        };
        let padding = [0x80_u8]
            .into_iter()
            .chain(std::iter::repeat_n(0, zeros))
            .chain(bits);
        self.update(&padding.collect::<Vec<u8>>());
        let mut raw = [0; 32];
        for (bytes, word) in raw.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        Digest(raw)
    }

    /// Completes the pending block, if there is one, and gives what follows. Counts all of `bytes`.
    fn align<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        self.bytes = self.bytes.wrapping_add(crate::count::len_u64(bytes));
        if self.pending_bytes == 0 {
            return bytes;
        }
        let room = BLOCK_BYTES.saturating_sub(self.pending_bytes);
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.keep(head);
        if self.pending_bytes == BLOCK_BYTES {
            sha2::block_api::compress256(&mut self.state, &[self.pending]);
            self.pending_bytes = 0;
        }
        rest
    }

    /// Keeps less than a block for later.
    fn keep(&mut self, tail: &[u8]) {
        let end = self.pending_bytes.saturating_add(tail.len());
        if let Some(room) = self.pending.get_mut(self.pending_bytes..end) {
            room.copy_from_slice(tail);
            self.pending_bytes = end;
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

/// How many streams [`update_many`] advances at once on this machine.
pub fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if wide::Wide::new().is_some() {
        return wide::LANES;
    }
    1
}

/// What hashes on this machine, for reports: one stream, and many.
pub fn hardware() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        let one = std::arch::is_x86_feature_detected!("sha");
        match (one, lanes() > 1) {
            (true, true) => "SHA instructions; 16 lanes of AVX-512",
            (true, false) => "SHA instructions",
            (false, true) => "portable code; 16 lanes of AVX-512",
            (false, false) => "portable code",
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    "as the sha2 crate finds at run time"
}

/// Advances many independent streams, each by its own bytes.
///
/// The streams have nothing in common but the call, which is what lets them be advanced side by side.
/// It is fastest where they get equally many bytes. The verifier calls it with pieces of many small
/// artifacts, or of several chunks of a large one.
pub fn update_many(streams: &mut [(&mut Hasher, &[u8])]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(wide) = wide::Wide::new() {
        return wide.update(streams);
    }
    for (hasher, bytes) in streams {
        hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s24_only_the_known_answer_is_sha_256() {
        // FIPS 180-4 examples: "abc" and the empty string.
        assert_eq!(
            Digest::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            Digest::of(b"").to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn text_has_one_spelling() {
        let digest = Digest::of(b"x");
        let text = digest.to_string();
        assert_eq!(text.parse(), Ok(digest));
        for bad in [
            text.to_uppercase(),
            format!("{text}0"),
            text.chars().skip(1).collect(),
            format!(" {text}"),
            String::new(),
            format!("g{}", text.chars().skip(1).collect::<String>()),
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError), "{bad}");
        }
    }

    #[test]
    fn every_length_around_the_block_is_what_sha2_says() {
        use sha2::Digest as _;
        let bytes: Vec<u8> = (0..300u16)
            .map(|at| u8::try_from(at % 256).unwrap())
            .collect();
        for len in 0..bytes.len() {
            for cut in [0, 1, 63, 64, 65, len / 2] {
                let (head, tail) = bytes[..len].split_at(cut.min(len));
                let mut hasher = Hasher::new();
                hasher.update(head);
                hasher.update(tail);
                let expected: [u8; 32] = sha2::Sha256::digest(&bytes[..len]).into();
                assert_eq!(hasher.finish().as_bytes(), &expected, "{len} {cut}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn streams_side_by_side_are_what_sha2_says(
            inputs in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..700), 0..40),
            cuts in proptest::collection::vec(0..700usize, 40),
        ) {
            use sha2::Digest as _;
            let mut hashers = vec![Hasher::new(); inputs.len()];
            for half in 0..2 {
                let mut streams: Vec<(&mut Hasher, &[u8])> = hashers
                    .iter_mut()
                    .zip(inputs.iter().zip(&cuts))
                    .map(|(hasher, (input, cut))| {
                        let (head, tail) = input.split_at(*cut.min(&input.len()));
                        (hasher, if half == 0 { head } else { tail })
                    })
                    .collect();
                update_many(&mut streams);
            }
            for (hasher, input) in hashers.into_iter().zip(&inputs) {
                let expected: [u8; 32] = sha2::Sha256::digest(input).into();
                proptest::prop_assert_eq!(hasher.finish(), Digest::from_bytes(expected));
            }
        }
    }

    #[test]
    fn many_streams_give_what_single_streams_give() {
        let inputs: Vec<Vec<u8>> = (0..37u8).map(|i| vec![i; usize::from(i) * 61]).collect();
        let mut hashers = vec![Hasher::new(); inputs.len()];
        for half in 0..2 {
            let mut lanes: Vec<(&mut Hasher, &[u8])> = hashers
                .iter_mut()
                .zip(&inputs)
                .map(|(hasher, input)| {
                    let (head, tail) = input.split_at(input.len() / 2);
                    (hasher, if half == 0 { head } else { tail })
                })
                .collect();
            update_many(&mut lanes);
        }
        for (hasher, input) in hashers.into_iter().zip(&inputs) {
            assert_eq!(hasher.finish(), Digest::of(input));
        }
    }
}
