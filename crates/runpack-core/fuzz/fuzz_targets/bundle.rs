//! A bundle is judged alike however it is cut, within its bounds; a sound one is the archive that the
//! writer makes of its manifest and content.
//!
//! Input that starts like gzip is taken as it is. All else is taken for an archive and packed first,
//! so that a fuzzer need not guess a CRC.
#![no_main]

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use flate2::read::GzDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression as FlateLevel, Crc};
use libfuzzer_sys::fuzz_target;
use runpack_core::bundle::{
    BundleOutcome, BundleReader, BundleSink, BundleWriter, Compression, Flow, verify_bundle,
};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::verify::Level;

/// Keeps the content, and that it came in order.
#[derive(Default)]
struct Kept {
    content: Vec<u8>,
    last: Option<(usize, u64)>,
}

impl BundleSink for Kept {
    fn manifest(&mut self, _: &Arc<Manifest>, _: &[u8]) -> io::Result<()> {
        assert!(self.last.is_none());
        Ok(())
    }

    fn chunk(&mut self, artifact: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(self.last < Some((artifact, offset)));
        self.last = Some((artifact, offset));
        self.content.extend_from_slice(bytes);
        Ok(())
    }
}

fn packed(archive: &[u8]) -> Vec<u8> {
    let header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    let mut encoder = DeflateEncoder::new(header, FlateLevel::none());
    encoder.write_all(archive).expect("memory");
    let mut bundle = encoder.finish().expect("memory");
    let mut crc = Crc::new();
    crc.update(archive);
    bundle.extend_from_slice(&crc.sum().to_le_bytes());
    bundle.extend_from_slice(&crc.amount().to_le_bytes());
    bundle
}

fn unpacked(bundle: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    GzDecoder::new(bundle)
        .read_to_end(&mut archive)
        .expect("a sound bundle");
    archive
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.manifest_bytes_max = 1 << 20;
    limits.pack_bytes_max = 32 << 20;
    limits.findings_max = 4;
    limits
}

fn in_pieces(bundle: &[u8], length: usize, kept: &mut Kept) -> BundleOutcome {
    let mut reader = BundleReader::with_sink(limits(), Level::Deep, kept);
    for piece in bundle.chunks(length) {
        if reader.push(piece).expect("the sink does not fail") == Flow::Done {
            break;
        }
    }
    reader.finish()
}

fuzz_target!(|bytes: &[u8]| {
    let bundle = if bytes.starts_with(b"\x1f\x8b") {
        bytes.to_vec()
    } else {
        packed(bytes)
    };
    let mut kept = Kept::default();
    let outcome = verify_bundle(&*bundle, &limits(), Level::Deep);
    let pieces = in_pieces(&bundle, bytes.len() % 977 + 1, &mut kept);
    assert_eq!(format!("{outcome:?}"), format!("{pieces:?}"));
    assert!(outcome.findings.len() <= 4);
    assert!(outcome.artifacts_proven <= outcome.artifacts_checked);
    match &outcome.manifest {
        None => assert_eq!((outcome.bytes_checked, outcome.artifacts_checked), (0, 0)),
        Some(manifest) => assert!(outcome.bytes_checked <= manifest.artifact_bytes()),
    }
    if !outcome.is_sound() {
        return;
    }
    let manifest = outcome.manifest.expect("a sound bundle");
    assert_eq!(kept.content.len() as u64, manifest.artifact_bytes());
    let mut writer = BundleWriter::new(Vec::new(), &manifest, Compression::Fast).expect("memory");
    writer
        .write(&kept.content)
        .expect("content that was verified");
    let written = writer.finish().expect("content that was verified");
    assert_eq!(unpacked(&written), unpacked(&bundle));
});
