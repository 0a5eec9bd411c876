//! SHA-256 as S3 writes it: of one body, and composite of the parts of an upload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::{Digest, Hasher};

/// A digest as the header of a checksum.
pub(super) fn text(digest: &Digest) -> String {
    STANDARD.encode(digest.as_bytes())
}

/// The digest in the header of a checksum of one body; `None` for a composite one.
pub(super) fn parse(text: &str) -> Option<Digest> {
    let raw = STANDARD.decode(text).ok()?;
    Some(Digest::from_bytes(raw.try_into().ok()?))
}

/// The checksum of an object that was uploaded in these parts (Amazon S3 user guide, "Checking object
/// integrity": the digest of the digests, and how many they are).
pub(super) fn composite(parts: &[Digest]) -> String {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes());
    }
    format!("{}-{}", text(&hasher.finish()), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_body_and_back() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            text(&digest),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
        assert_eq!(parse(&text(&digest)), Some(digest));
        let composite = composite(&[digest]);
        for other in ["", "ungWv48B", "not base64", composite.as_str()] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn parts_are_a_digest_of_digests() {
        let parts = [Digest::of(b"abc"), Digest::of(b"")];
        let joined = [*parts[0].as_bytes(), *parts[1].as_bytes()].concat();
        let expected = format!("{}-2", text(&Digest::of(&joined)));
        assert_eq!(composite(&parts), expected);
    }
}
