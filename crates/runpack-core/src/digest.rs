//! SHA-256 (FIPS 180-4), the only digest of the format, behind one small interface that takes many streams.
//!
//! Everything that hashes goes through [`Hasher`] or [`update_many`]. The many-streams call is the
//! seam for an implementation that advances several streams in one pass of wide registers; today
//! each stream is advanced on its own, with the processor's SHA instructions where it has them
//! (the `sha2` crate finds out at run time).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

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
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A stream that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances the stream by `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was seen.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

/// How many streams the implementation of [`update_many`] wants at once.
pub(crate) const LANES: usize = 1;

/// Advances many independent streams, each by its own bytes.
///
/// The streams have nothing in common but the call, which is what lets an implementation work on
/// several at once. The verifier calls it with a batch of small artifacts, or with pieces of
/// several chunks of one large artifact.
pub fn update_many(lanes: &mut [(&mut Hasher, &[u8])]) {
    for (hasher, bytes) in lanes {
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
