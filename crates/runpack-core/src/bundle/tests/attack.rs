//! Bundles made to deceive or to exhaust.

use flate2::{Compress, FlushCompress};

use super::*;

/// Counts what a reader takes of its source.
struct Counted<R> {
    source: R,
    bytes: u64,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bytes += u64::try_from(read).unwrap();
        Ok(read)
    }
}

fn codes_of(archive: &[u8]) -> Vec<Code> {
    codes(&verified(&packed(archive)))
}

/// The archive of the small pack, and where its parts start.
struct Parts {
    archive: Vec<u8>,
    /// Of `empty`, `logs/run.txt`, `result.json`.
    headers: [usize; 3],
}

fn parts() -> Parts {
    let pack = Pack::small();
    let archive = unpacked(&pack.bundle(Compression::Fast));
    let first = 512 + pack.manifest.to_bytes().len().next_multiple_of(512);
    assert_eq!(archive.len(), first + 5 * 512 + 1024);
    Parts {
        archive,
        headers: [first, first + 512, first + 3 * 512],
    }
}

/// A header of another type, with a checksum that fits.
fn entry(name: &str, typeflag: u8, size: &str) -> Vec<u8> {
    let mut header = Vec::new();
    tar::prelude(&mut header, name, 0, 1_795_176_000);
    header[156] = typeflag;
    header[124..124 + size.len()].copy_from_slice(size.as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[test]
fn b23_no_entry_but_a_regular_file() {
    let Parts { archive, headers } = parts();
    for typeflag in *b"1234567gxLKSVA\0" {
        let mut bad = archive.clone();
        bad.splice(
            headers[0]..headers[0] + 512,
            entry("empty", typeflag, "00000000000"),
        );
        assert_eq!(
            codes_of(&bad),
            [Code::BundleTar],
            "{}",
            char::from(typeflag)
        );
    }
    for mode in ["0004755", "0000755", "0100644"] {
        let mut bad = archive.clone();
        bad[headers[1] + 100..][..7].copy_from_slice(mode.as_bytes());
        assert_eq!(codes_of(&bad), [Code::BundleTar], "{mode}");
    }
}

#[test]
fn b24_pax_size_desync() {
    let Parts { archive, headers } = parts();
    for record in [
        "19 size=8589934592\n",
        "10 size=0\n",
        "22 path=../../etc/pwn\n",
        "11 mtime=1\n",
    ] {
        let mut extension = entry("PaxHeader", b'x', &format!("{:011o}", record.len()));
        extension.extend_from_slice(record.as_bytes());
        extension.resize(1024, 0);
        let mut bad = archive.clone();
        bad.splice(headers[1]..headers[1], extension);
        assert_eq!(codes_of(&bad), [Code::BundleTar], "{record}");
    }
}

#[test]
fn b24_gnu_long_name_and_base_256() {
    let Parts { archive, headers } = parts();
    let mut long = entry("././@LongLink", b'L', "00000000006");
    long.extend_from_slice(b"empty\0");
    long.resize(1024, 0);
    let mut bad = archive.clone();
    bad.splice(headers[0]..headers[0], long);
    assert_eq!(codes_of(&bad), [Code::BundleTar]);

    let mut bad = archive;
    bad[headers[1] + 124..][..12].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x09");
    assert_eq!(codes_of(&bad), [Code::BundleTar]);
}

#[test]
fn s15_entries_out_of_place() {
    let Parts { archive, headers } = parts();
    let (first, rest) = (&archive[..headers[0]], &archive[headers[0]..]);
    let twice = [&archive[..headers[1]], rest].concat();
    assert_eq!(codes_of(&twice), [Code::BundleTar]);
    let manifest_twice = [first, first, rest].concat();
    assert_eq!(codes_of(&manifest_twice), [Code::BundleTar]);
    let missing = [first, &archive[headers[1]..]].concat();
    assert_eq!(codes_of(&missing), [Code::BundleTar]);
    assert_eq!(codes_of(rest), [Code::ManifestMissing]);
    let swapped = [
        &archive[..headers[1]],
        &archive[headers[2]..headers[2] + 1024],
        &archive[headers[1]..headers[2]],
        &archive[headers[2] + 1024..],
    ]
    .concat();
    assert_eq!(codes_of(&swapped), [Code::BundleTar]);
}

#[test]
fn s01_content_that_differs_is_found_and_the_pass_goes_on() {
    let Parts {
        mut archive,
        headers,
    } = parts();
    archive[headers[1] + 512] ^= 1;
    archive[headers[2] + 512] ^= 1;
    let outcome = verified(&packed(&archive));
    assert_eq!(codes(&outcome), [Code::ArtifactDigest; 2]);
    assert_eq!(outcome.findings[0].about.as_deref(), Some("logs/run.txt"));
    assert_eq!(outcome.findings[1].about.as_deref(), Some("result.json"));
    assert_eq!(
        (outcome.artifacts_checked, outcome.artifacts_proven),
        (3, 1)
    );

    // A break after that does not take back what was found before it.
    archive[headers[2]] ^= 1;
    let outcome = verified(&packed(&archive));
    assert_eq!(codes(&outcome), [Code::ArtifactDigest, Code::BundleTar]);
    assert_eq!(outcome.artifacts_checked, 2);
}

#[test]
fn s01_no_unverified_byte_reaches_a_sink() {
    let mut large = vec![7u8; 2 * CHUNK_LEN + 5];
    let pack = Pack::of(&[("a", b"good"), ("large", &large), ("z", b"good too")]);
    let mut archive = unpacked(&pack.bundle(Compression::Fast));
    let start = archive.len() - 1024 - 512 - 512 - (large.len().next_multiple_of(512));
    archive[start + CHUNK_LEN + 77] ^= 1;
    let mut kept = Kept::default();
    let limits = Limits::default();
    let outcome = extract_bundle(&*packed(&archive), &limits, Level::Full, &mut kept).unwrap();
    assert_eq!(codes(&outcome), [Code::ArtifactDigest]);
    assert_eq!(outcome.findings[0].damaged_chunks, [1]);
    let seen: Vec<(usize, u64)> = kept
        .chunks
        .iter()
        .map(|(artifact, offset, _)| (*artifact, *offset))
        .collect();
    let chunk = len_u64(&large[..CHUNK_LEN]);
    assert_eq!(seen, [(0, 0), (1, 0), (1, 2 * chunk), (2, 0)]);
    large.truncate(CHUNK_LEN);
    assert!(kept.chunks[1].2 == large);
}

#[test]
fn deep_checks_the_claim() {
    let large = vec![7u8; CHUNK_LEN + 1];
    let pack = Pack::with(&[("large", &large)], |artifact, _| {
        artifact.with_claimed_sha256(Digest::of(b"something else"))
    });
    let bundle = pack.bundle(Compression::Fast);
    let at = |level| codes(&verify_bundle(&*bundle, &Limits::default(), level));
    assert_eq!(at(Level::Full), []);
    assert_eq!(at(Level::Deep), [Code::ArtifactClaimed]);
}

#[test]
fn b26_only_one_plain_gzip_member() {
    let bundle = Pack::small().bundle(Compression::Fast);
    for (at, header) in gzip::HEADER.iter().enumerate() {
        let mut bad = bundle.clone();
        bad[at] = header.wrapping_add(1);
        assert_eq!(codes(&verified(&bad)), [Code::BundleGzip], "{at}");
    }
    assert_eq!(codes(&verified(&[])), [Code::BundleTruncated]);
    assert_eq!(codes(&verified(b"PK\x03\x04")), [Code::BundleTruncated]);
    assert_eq!(
        codes(&verified(b"PK\x03\x04 and the rest of a zip archive")),
        [Code::BundleGzip]
    );
    let archive = unpacked(&bundle);
    let (head, tail) = archive.split_at(700);
    let split = [packed(head), packed(tail)].concat();
    assert_eq!(codes(&verified(&split)), [Code::BundleTruncated]);
    assert_eq!(codes_of(&bundle), [Code::ManifestMissing]);
}

#[test]
fn b27_a_bomb_is_stopped_early() {
    // After a full flush nothing refers back: one mebibyte of zeros serves 1,024 times.
    let flushed = |bytes: &[u8]| {
        let mut deflate = Compress::new(flate2::Compression::best(), false);
        let mut out = Vec::with_capacity(bytes.len() + 4096);
        deflate
            .compress_vec(bytes, &mut out, FlushCompress::Full)
            .unwrap();
        out
    };
    let mebibyte = flushed(&vec![0u8; 1 << 20]);
    let gibibyte = |head: &[u8]| {
        let mut bomb = [&gzip::HEADER, &*flushed(head)].concat();
        (0..1024).for_each(|_| bomb.extend_from_slice(&mebibyte));
        bomb
    };
    let archive = parts().archive;
    let mut manifest_bomb = Vec::new();
    tar::prelude(&mut manifest_bomb, "manifest.json", 8_589_934_591, 0);
    for (head, code) in [
        (&b""[..], Code::ManifestMissing),
        (&manifest_bomb, Code::ManifestSize),
        (&archive, Code::BundleTrailing),
        (&archive[..archive.len() - 1024 - 512], Code::ArtifactDigest),
    ] {
        let bomb = gibibyte(head);
        let mut source = Counted {
            source: &*bomb,
            bytes: 0,
        };
        let outcome = verify_bundle(&mut source, &Limits::default(), Level::Full);
        assert_eq!(codes(&outcome)[0], code);
        assert!(outcome.bytes_checked <= 20, "{}", outcome.bytes_checked);
        assert!(source.bytes <= 256 * 1024 && source.bytes < len_u64(&bomb) / 4);
    }
}

#[test]
fn b09_limits_hold_in_a_bundle() {
    let pack = Pack::small();
    let bundle = pack.bundle(Compression::Fast);
    let with = |set: fn(&mut Limits, u64)| {
        let mut limits = Limits::default();
        set(&mut limits, len_u64(&pack.manifest.to_bytes()));
        verify_bundle(&*bundle, &limits, Level::Full)
    };
    let exact = with(|limits, size| limits.manifest_bytes_max = size);
    assert!(exact.is_sound());
    let outcome = with(|limits, size| limits.manifest_bytes_max = size - 1);
    assert_eq!(codes(&outcome), [Code::ManifestSize]);
    assert!(outcome.manifest.is_none());
    let outcome = with(|limits, _| limits.artifacts_max = 2);
    assert_eq!(codes(&outcome), [Code::ManifestLimit]);
    let outcome = with(|limits, _| limits.artifact_bytes_max = 10);
    assert_eq!(codes(&outcome), [Code::ManifestLimit]);
}

#[test]
fn findings_beyond_the_limit_are_counted() {
    let Parts {
        mut archive,
        headers,
    } = parts();
    archive[headers[1] + 512] ^= 1;
    archive[headers[2] + 512] ^= 1;
    let bundle = packed(&archive);
    for (max, listed, unlisted) in [(0, 0, 2), (1, 1, 1), (2, 2, 0)] {
        let limits = Limits {
            findings_max: max,
            ..Limits::default()
        };
        let outcome = verify_bundle(&*bundle, &limits, Level::Full);
        assert_eq!(outcome.findings.len(), listed);
        assert_eq!(outcome.findings_unlisted, unlisted);
        assert!(!outcome.is_sound());
    }
}

#[test]
fn b28_every_truncation_is_told() {
    let bundle = Pack::small().bundle(Compression::Balanced);
    for length in 0..bundle.len() {
        let outcome = verified(&bundle[..length]);
        assert_eq!(codes(&outcome), [Code::BundleTruncated], "{length}");
    }
    let archive = unpacked(&bundle);
    for length in 0..archive.len() {
        assert_eq!(codes_of(&archive[..length]), [Code::BundleTruncated]);
    }
}

#[test]
fn b28_nothing_follows() {
    let bundle = Pack::small().bundle(Compression::Fast);
    let archive = unpacked(&bundle);
    for after in [&b"\0"[..], b"x", &[0; 512], &archive] {
        let in_member = [&archive[..], after].concat();
        assert_eq!(codes_of(&in_member), [Code::BundleTrailing]);
    }
    for after in [&b"\0"[..], &packed(b""), &bundle] {
        let behind = [&bundle[..], after].concat();
        assert_eq!(codes(&verified(&behind)), [Code::BundleTrailing]);
    }
    for at in 1..=8 {
        let mut bad = bundle.clone();
        let at = bad.len() - at;
        bad[at] ^= 0x40;
        assert_eq!(codes(&verified(&bad)), [Code::BundleGzip]);
    }
}
