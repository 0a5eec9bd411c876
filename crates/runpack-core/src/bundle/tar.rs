//! The one spelling of a bundle's archive: every byte beside the content, made from name, size and time
//! (specification, section 8).
//!
//! Reader and writer both call [`prelude`], so they cannot disagree. One number is taken from an
//! archive, the size of its manifest ([`manifest_bytes`]); no type, mode, link, owner or extension of an
//! entry is ever interpreted (threats B23 to B25).

use crate::count::len_u64;
use crate::manifest::Manifest;
use crate::time::Timestamp;

/// The unit of an archive.
pub(super) const BLOCK_BYTES: usize = 512;
/// The zero bytes at the end of an archive.
const TRAILER_BYTES: usize = 1_024;
/// The name of the first entry.
pub(super) const MANIFEST_NAME: &str = "manifest.json";

/// The largest number of eleven octal digits.
const OCTAL_MAX: u64 = 0o777_7777_7777;
/// The longest name that a header holds.
const NAME_BYTES_MAX: usize = 100;

const SIZE_AT: usize = 124;
const CHECKSUM_AT: usize = 148;
const CHECKSUM_BYTES: usize = 8;

/// A header as it stands in an archive.
pub(super) type Header = [u8; BLOCK_BYTES];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryType {
    File,
    Extension,
}

/// `created_at` as headers say it.
pub(super) fn mtime(created_at: Timestamp) -> u64 {
    created_at.unix_seconds().min(OCTAL_MAX)
}

/// Appends what stands before the content of a file of `bytes` bytes: the PAX entry where one is
/// needed, and the header.
pub(super) fn prelude(out: &mut Vec<u8>, name: &str, bytes: u64, mtime: u64) {
    let mut records = String::new();
    if name.len() > NAME_BYTES_MAX {
        records.push_str(&record(&format!("path={name}")));
    }
    let header_bytes = if bytes > OCTAL_MAX {
        records.push_str(&record(&format!("size={bytes}")));
        0
    } else {
        bytes
    };
    if !records.is_empty() {
        let records_bytes = len_u64(records.as_bytes());
        out.extend_from_slice(&header(
            "PaxHeader",
            records_bytes,
            mtime,
            EntryType::Extension,
        ));
        out.extend_from_slice(records.as_bytes());
        pad(out, records_bytes);
    }
    out.extend_from_slice(&header(name, header_bytes, mtime, EntryType::File));
}

/// Appends what stands between a content of `bytes` bytes and the content of the artifact at `next`, or,
/// past the last one, the end.
pub(super) fn between(out: &mut Vec<u8>, manifest: &Manifest, bytes: u64, next: usize, mtime: u64) {
    pad(out, bytes);
    match manifest.artifacts().get(next) {
        Some(artifact) => prelude(out, artifact.name().as_str(), artifact.bytes(), mtime),
        None => out.resize(out.len().saturating_add(TRAILER_BYTES), 0),
    }
}

/// Appends the zero bytes that follow a content of `bytes` bytes.
fn pad(out: &mut Vec<u8>, bytes: u64) {
    out.resize(out.len().saturating_add(padding_bytes(bytes)), 0);
}

/// How many zero bytes follow a content of `bytes` bytes.
pub(super) fn padding_bytes(bytes: u64) -> usize {
    usize::try_from(bytes.wrapping_neg() & 511).unwrap_or(0)
}

/// The size that an archive's first header gives for the manifest; `None` where it is no header of a
/// manifest. The rest of the header is compared once the manifest is known.
pub(super) fn manifest_bytes(header: &Header) -> Option<u64> {
    let mut name = [0u8; NAME_BYTES_MAX];
    put(&mut name, 0, MANIFEST_NAME.as_bytes());
    let checksum = header.get(CHECKSUM_AT..)?.first_chunk::<CHECKSUM_BYTES>()?;
    let (digits, end) = header.get(SIZE_AT..)?.first_chunk::<12>()?.split_at(11);
    let sound = header.starts_with(&name) && *checksum == checksum_of(header) && end == [0];
    if !sound {
        return None;
    }
    digits.iter().try_fold(0u64, |size, digit| match digit {
        b'0'..=b'7' => Some(size << 3 | u64::from(digit & 7)),
        _ => None,
    })
}

/// A PAX record: its length counts its own digits.
fn record(text: &str) -> String {
    let without_digits = text.len().saturating_add(2);
    let mut length = without_digits;
    loop {
        let counted = without_digits.saturating_add(length.to_string().len());
        if counted == length {
            return format!("{length} {text}\n");
        }
        length = counted;
    }
}

fn header(name: &str, bytes: u64, mtime: u64, entry: EntryType) -> Header {
    let mut header = [0u8; BLOCK_BYTES];
    let name = name.as_bytes();
    put(&mut header, 0, name.get(..NAME_BYTES_MAX).unwrap_or(name));
    put(&mut header, 100, b"0000644");
    put(&mut header, 108, b"0000000");
    put(&mut header, 116, b"0000000");
    put_octal(&mut header, SIZE_AT, 11, bytes);
    put_octal(&mut header, 136, 11, mtime);
    put(
        &mut header,
        156,
        match entry {
            EntryType::File => b"0",
            EntryType::Extension => b"x",
        },
    );
    put(&mut header, 257, b"ustar\x0000");
    put(&mut header, 329, b"0000000");
    put(&mut header, 337, b"0000000");
    let checksum = checksum_of(&header);
    put(&mut header, CHECKSUM_AT, &checksum);
    header
}

/// The checksum field that belongs into a header: the sum of its bytes with spaces in this field.
fn checksum_of(header: &Header) -> [u8; CHECKSUM_BYTES] {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| match at.checked_sub(CHECKSUM_AT) {
            Some(0..CHECKSUM_BYTES) => u64::from(b' '),
            _ => u64::from(*byte),
        })
        .sum();
    let mut field = *b"000000\0 ";
    put_octal(&mut field, 0, 6, sum);
    field
}

fn put(field: &mut [u8], at: usize, value: &[u8]) {
    for (slot, byte) in field.iter_mut().skip(at).zip(value) {
        *slot = *byte;
    }
}

fn put_octal(field: &mut [u8], at: usize, digits: usize, mut value: u64) {
    for slot in field.iter_mut().skip(at).take(digits).rev() {
        *slot = b'0' | u8::try_from(value & 7).unwrap_or(0);
        value >>= 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prelude_of(name: &str, bytes: u64) -> Vec<u8> {
        let mut out = Vec::new();
        prelude(&mut out, name, bytes, 1_795_176_000);
        out
    }

    #[test]
    fn a_header_is_the_ustar_header_of_posix() {
        let header = prelude_of("decisions.json", 1234);
        assert_eq!(header.len(), BLOCK_BYTES);
        assert_eq!(&header[..15], b"decisions.json\0");
        assert_eq!(&header[100..108], b"0000644\0");
        assert_eq!(&header[124..136], b"00000002322\0");
        assert_eq!(&header[136..148], b"15300033100\0");
        assert_eq!(&header[156..157], b"0");
        assert_eq!(&header[257..265], b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        let field: u32 = header[148..156].iter().map(|byte| u32::from(*byte)).sum();
        let stated = u32::from_str_radix(std::str::from_utf8(&header[148..154]).unwrap(), 8);
        assert_eq!(stated, Ok(sum - field + 8 * 32));
        assert_eq!(&header[154..156], b"\0 ");
    }

    #[test]
    fn pax_only_where_ustar_cannot_say_it() {
        let name = |len| "n".repeat(len);
        assert_eq!(prelude_of(&name(100), OCTAL_MAX).len(), BLOCK_BYTES);
        let long = prelude_of(&name(101), 0);
        assert_eq!(long.len(), 3 * BLOCK_BYTES);
        assert_eq!(&long[..10], b"PaxHeader\0");
        assert_eq!(&long[156..157], b"x");
        assert_eq!(
            &long[512..512 + 111],
            format!("111 path={}\n", name(101)).as_bytes()
        );
        assert_eq!(&long[1024..1124], name(100).as_bytes());
        let large = prelude_of("n", OCTAL_MAX + 1);
        assert_eq!(&large[512..512 + 20], b"19 size=8589934592\n\0");
        assert_eq!(&large[1024 + 124..1024 + 136], b"00000000000\0");
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for (text, length) in [(5, "8 "), (6, "9 "), (7, "11 "), (95, "99 "), (96, "101 ")] {
            let record = record(&"t".repeat(text));
            assert!(record.starts_with(length), "{text}: {record}");
            assert_eq!(record.len().to_string(), length.trim_end());
        }
    }

    #[test]
    fn padding_at_its_edges() {
        for (bytes, padding) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
            assert_eq!(padding_bytes(bytes), padding, "{bytes}");
        }
        assert_eq!(padding_bytes(u64::MAX), 1);
    }

    #[test]
    fn b24_only_a_manifest_header_gives_a_size() {
        let header = |name: &str, bytes| header(name, bytes, 0, EntryType::File);
        assert_eq!(manifest_bytes(&header("manifest.json", 0o17)), Some(15));
        assert_eq!(
            manifest_bytes(&header("manifest.json", OCTAL_MAX)),
            Some(OCTAL_MAX)
        );
        assert_eq!(manifest_bytes(&header("Manifest.json", 1)), None);
        assert_eq!(manifest_bytes(&header("manifest.json2", 1)), None);
        assert_eq!(manifest_bytes(&[0; 512]), None);
        for field in [
            b"0000000001 \0",
            b"          1\0",
            b"00000000018\0",
            b"000000000017",
            b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
            b"-0000000001\0",
        ] {
            let mut bad = header("manifest.json", 1);
            put(&mut bad, SIZE_AT, field);
            let checksum = checksum_of(&bad);
            put(&mut bad, CHECKSUM_AT, &checksum);
            assert_eq!(manifest_bytes(&bad), None, "{field:?}");
        }
    }
}
