//! Bundles that are sound, bundles that are not, and stock `tar` as a witness.
//!
//! `tests/mutation.rs` changes every byte of a small bundle in every way.

#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

mod attack;
mod mutation;

use std::fs;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::commitment::{CHUNK_LEN, ChunkHasher};
use crate::count::len_u64;
use crate::digest::Digest;
use crate::finding::Code;
use crate::id::SpecHash;
use crate::level::Level;
use crate::limits::Limits;
use crate::manifest::{Artifact, Labels, Producer, Subject};

/// A pack in memory.
pub(super) struct Pack {
    pub(super) manifest: Manifest,
    pub(super) contents: Vec<Vec<u8>>,
}

impl Pack {
    pub(super) fn of(artifacts: &[(&str, &[u8])]) -> Self {
        Self::with(artifacts, |artifact, _| artifact)
    }

    pub(super) fn with(
        artifacts: &[(&str, &[u8])],
        finish: fn(Artifact, &[u8]) -> Artifact,
    ) -> Self {
        let listed = artifacts
            .iter()
            .map(|(name, content)| {
                let mut hasher = ChunkHasher::new();
                hasher.update(content);
                let (digests, bytes) = hasher.finish();
                let artifact = Artifact::new(
                    name.parse().unwrap(),
                    "trace".parse().unwrap(),
                    "application/octet-stream".parse().unwrap(),
                    bytes,
                    digests,
                );
                finish(artifact.unwrap(), content)
            })
            .collect();
        let subject = Subject::Run {
            tenant: "acme".parse().unwrap(),
            namespace: "prod".parse().unwrap(),
            scenario: "loan-approval".parse().unwrap(),
            run_id: "01JD".parse().unwrap(),
            spec_hash: format!("sha256:{}", Digest::of(b"spec"))
                .parse::<SpecHash>()
                .unwrap(),
        };
        let producer = Producer {
            name: "runpack".parse().unwrap(),
            version: "0.1.0".parse().unwrap(),
        };
        let manifest = Manifest::new(
            subject,
            "2026-11-20T12:00:00Z".parse().unwrap(),
            producer,
            listed,
            Labels::new(),
            &Limits::default(),
        )
        .unwrap();
        let contents = manifest
            .artifacts()
            .iter()
            .map(|artifact| {
                let found = artifacts
                    .iter()
                    .find(|(name, _)| *name == artifact.name().as_str());
                found.unwrap().1.to_vec()
            })
            .collect();
        Self { manifest, contents }
    }

    pub(super) fn small() -> Self {
        Self::of(&[
            ("empty", b""),
            ("logs/run.txt", b"one line\n"),
            ("result.json", b"{\"ok\":true}"),
        ])
    }

    pub(super) fn bundle(&self, compression: Compression) -> Vec<u8> {
        self.bundle_in_pieces(compression, usize::MAX)
    }

    fn bundle_in_pieces(&self, compression: Compression, piece: usize) -> Vec<u8> {
        let mut writer = BundleWriter::new(Vec::new(), &self.manifest, compression).unwrap();
        for piece in self.contents.concat().chunks(piece) {
            writer.write(piece).unwrap();
        }
        writer.finish().unwrap()
    }
}

/// The archive inside a bundle.
pub(super) fn unpacked(bundle: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bundle), &mut archive).unwrap();
    archive
}

/// A member around anything.
pub(super) fn packed(archive: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut gzip = gzip::Gzip::new(Compression::Fast, &mut out);
    gzip.push(archive, &mut out).unwrap();
    gzip.finish(&mut out).unwrap();
    out
}

pub(super) fn verified(bundle: &[u8]) -> BundleOutcome {
    verify_bundle(bundle, &Limits::default(), Level::Deep)
}

pub(super) fn codes(outcome: &BundleOutcome) -> Vec<Code> {
    outcome
        .findings
        .iter()
        .map(|finding| finding.code)
        .collect()
}

/// A sink that keeps everything.
#[derive(Debug, Default)]
struct Kept {
    manifest: Vec<u8>,
    chunks: Vec<(usize, u64, Vec<u8>)>,
}

impl BundleSink for Kept {
    fn manifest(&mut self, manifest: &Arc<Manifest>, bytes: &[u8]) -> io::Result<()> {
        assert!(self.manifest.is_empty() && self.chunks.is_empty());
        assert_eq!(manifest.to_bytes(), bytes);
        self.manifest = bytes.to_vec();
        Ok(())
    }

    fn chunk(&mut self, artifact: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.chunks.push((artifact, offset, bytes.to_vec()));
        Ok(())
    }
}

fn sizes_that_matter() -> Pack {
    let long = "n".repeat(101);
    let exact = "e".repeat(100);
    let deep = format!("d/{}/{}", "m".repeat(200), "l".repeat(200));
    let large: Vec<u8> = (0..CHUNK_LEN + 12_345)
        .map(|at| u8::try_from(at * 7 % 251).unwrap())
        .collect();
    Pack::with(
        &[
            ("empty", b""),
            ("block", &[1; 512]),
            ("over", &[2; 513]),
            (&long, b"long name"),
            (&exact, b"name of 100"),
            (&deep, b""),
            ("chunk", &vec![3; CHUNK_LEN]),
            ("large", &large),
            ("zz-empty", b""),
        ],
        |artifact, content| artifact.with_claimed_sha256(Digest::of(content)),
    )
}

#[test]
fn round_trips() {
    let packs = [
        (Pack::small(), Compression::Stored),
        (Pack::small(), Compression::Best),
        (Pack::of(&[("only", b"")]), Compression::Balanced),
        (sizes_that_matter(), Compression::Fast),
    ];
    for (pack, compression) in packs {
        let bundle = pack.bundle(compression);
        for level in [Level::Presence, Level::Full, Level::Deep] {
            let outcome = verify_bundle(&*bundle, &Limits::default(), level);
            assert!(outcome.is_sound(), "{:?}", outcome.findings);
            assert_eq!(*outcome.manifest.unwrap(), pack.manifest);
            assert_eq!(outcome.artifacts_checked, len_u64(&pack.contents));
            let proven = if level == Level::Presence {
                0
            } else {
                outcome.artifacts_checked
            };
            assert_eq!(outcome.artifacts_proven, proven);
            assert_eq!(outcome.bytes_checked, pack.manifest.artifact_bytes());
        }
    }
}

#[test]
fn a_sink_gets_the_manifest_and_whole_chunks_in_order() {
    let pack = sizes_that_matter();
    let bundle = pack.bundle(Compression::Fast);
    let mut kept = Kept::default();
    let limits = Limits::default();
    let outcome = extract_bundle(&*bundle, &limits, Level::Presence, &mut kept).unwrap();
    assert!(outcome.is_sound());
    assert_eq!(kept.manifest, pack.manifest.to_bytes());
    let mut contents = vec![Vec::new(); pack.contents.len()];
    for (artifact, offset, bytes) in &kept.chunks {
        assert_eq!(*offset, len_u64(&contents[*artifact]));
        assert!(bytes.len() <= CHUNK_LEN);
        contents[*artifact].extend_from_slice(bytes);
    }
    assert!(contents == pack.contents);
    // One chunk each, the empty ones too, and one more of the large one.
    assert_eq!(kept.chunks.len(), pack.contents.len() + 1);
}

#[test]
fn stock_tar_extracts_it() {
    let pack = sizes_that_matter();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pack.tar.gz");
    fs::write(&file, pack.bundle(Compression::Fast)).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("tar")
            .args(arguments)
            .arg(&file)
            .arg("-C")
            .arg(directory.path())
            .output()
            .expect("stock tar is needed for this test");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let listed: Vec<String> = run(&["-tzf"]).lines().map(str::to_owned).collect();
    let mut expected = vec!["manifest.json".to_owned()];
    expected.extend(
        pack.manifest
            .artifacts()
            .iter()
            .map(|artifact| artifact.name().to_string()),
    );
    assert_eq!(listed, expected);
    run(&["-xzf"]);
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    assert!(read("manifest.json") == pack.manifest.to_bytes());
    for (artifact, content) in pack.manifest.artifacts().iter().zip(&pack.contents) {
        assert!(read(artifact.name().as_str()) == *content, "{artifact:?}");
    }
}

#[test]
fn the_writer_takes_only_what_the_manifest_commits_to() {
    let pack = Pack::small();
    let start = || BundleWriter::new(Vec::new(), &pack.manifest, Compression::default()).unwrap();
    let right = pack.contents.concat();

    let mut wrong = right.clone();
    wrong[3] ^= 1;
    let mut writer = start();
    let error = writer.write(&wrong).unwrap_err();
    assert!(matches!(error, BundleWriteError::NotCommitted { name } if name == "logs/run.txt"));
    assert!(matches!(writer.write(b""), Err(BundleWriteError::Failed)));
    assert!(matches!(writer.finish(), Err(BundleWriteError::Failed)));

    let mut writer = start();
    writer.write(&right[..12]).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, BundleWriteError::Incomplete { name } if name == "result.json"));

    let mut writer = start();
    writer.write(&right).unwrap();
    assert!(matches!(writer.write(b"x"), Err(BundleWriteError::Excess)));
    assert!(matches!(writer.finish(), Err(BundleWriteError::Failed)));
}

#[test]
fn the_writer_does_not_take_a_wrong_digest_of_nothing() {
    let wrong = Pack::with(&[("a", b""), ("b", b"b")], |artifact, _| {
        let name = artifact.name().clone();
        let content = crate::commitment::Content::Whole(Digest::of(b"b"));
        Artifact::new(
            name,
            artifact.kind().clone(),
            artifact.media_type().clone(),
            artifact.bytes(),
            content,
        )
        .unwrap()
    });
    let error = BundleWriter::new(Vec::new(), &wrong.manifest, Compression::Fast).unwrap_err();
    assert!(matches!(error, BundleWriteError::NotCommitted { name } if name == "a"));
}

#[test]
fn an_output_that_fails_fails_the_bundle() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let pack = Pack::small();
    let needed = pack.bundle(Compression::Stored).len();
    let make = |room| -> Result<(), BundleWriteError> {
        let mut writer = BundleWriter::new(Full(room), &pack.manifest, Compression::Stored)?;
        writer.write(&pack.contents.concat())?;
        writer.finish().map(drop)
    };
    for room in 0..needed {
        assert!(matches!(make(room), Err(BundleWriteError::Io(_))), "{room}");
    }
    assert!(make(needed).is_ok());
}

#[test]
fn a_sink_that_fails_at_any_call_gives_no_sound_outcome() {
    struct Failing(usize);
    impl Failing {
        fn call(&mut self) -> io::Result<()> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(())
        }
    }
    impl BundleSink for Failing {
        fn manifest(&mut self, _: &Arc<Manifest>, _: &[u8]) -> io::Result<()> {
            self.call()
        }
        fn chunk(&mut self, _: usize, _: u64, _: &[u8]) -> io::Result<()> {
            self.call()
        }
    }
    let bundle = Pack::small().bundle(Compression::Fast);
    let limits = Limits::default();
    for calls in 0..4 {
        let mut reader = BundleReader::with_sink(limits.clone(), Level::Full, Failing(calls));
        assert!(reader.push(&bundle).is_err());
        assert_eq!(reader.push(&bundle).unwrap(), Flow::Done);
        let outcome = reader.finish();
        assert_eq!(codes(&outcome), [Code::ArtifactUnread], "{calls}");
        assert!(extract_bundle(&*bundle, &limits, Level::Full, Failing(calls)).is_err());
    }
    let outcome = extract_bundle(&*bundle, &limits, Level::Full, Failing(4)).unwrap();
    assert!(outcome.is_sound());
}

#[test]
fn a_source_that_fails_at_any_byte_is_undecided() {
    struct Failing<'a>(&'a [u8]);
    impl io::Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            self.0.read(buffer)
        }
    }
    let bundle = Pack::small().bundle(Compression::Stored);
    for length in 0..=bundle.len() {
        let outcome = verify_bundle(Failing(&bundle[..length]), &Limits::default(), Level::Full);
        let expected = match outcome.manifest {
            None => Code::ManifestUnread,
            Some(_) => Code::ArtifactUnread,
        };
        assert_eq!(codes(&outcome), [expected], "{length}");
    }
}

#[test]
fn readers_and_writers_can_cross_threads() {
    fn sent<T: Send>() {}
    sent::<BundleReader>();
    sent::<BundleWriter<'_, Vec<u8>>>();
}

fn outcome_in_pieces(bundle: &[u8], pieces: &[usize]) -> String {
    let mut reader = BundleReader::new(Limits::default(), Level::Deep);
    let mut rest = bundle;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
        rest = tail;
        if reader.push(piece).unwrap() == Flow::Done {
            break;
        }
    }
    format!("{:?}", reader.finish())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_outcome_does_not_depend_on_the_cuts(
        pieces in prop::collection::vec(0usize..700, 1..8).prop_filter(
            "some piece has bytes", |pieces| pieces.iter().any(|piece| *piece > 0)),
        fault in prop::option::of((any::<prop::sample::Index>(), 1u8..)),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let noise: Vec<u8> = (0..3_000u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let pack = Pack::of(&[("noise", &noise), ("empty", b""), ("text", &[b'a'; 2_000])]);
        let mut bundle = pack.bundle(Compression::Balanced);
        if let Some((at, bits)) = fault {
            let at = at.index(bundle.len());
            bundle[at] ^= bits;
        }
        if let Some(cut) = cut {
            bundle.truncate(cut.index(bundle.len()));
        }
        let whole = outcome_in_pieces(&bundle, &[usize::MAX]);
        prop_assert_eq!(&whole, &outcome_in_pieces(&bundle, &pieces));
        prop_assert_eq!(&whole, &outcome_in_pieces(&bundle, &[1]));
    }

    #[test]
    fn the_bundle_does_not_depend_on_the_cuts(piece in 1usize..5_000) {
        let noise: Vec<u8> = (0..200_000u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[1] & 15).collect();
        let pack = Pack::of(&[("noise", &noise), ("empty", b""), ("text", &[b'a'; 2_000])]);
        for compression in [Compression::Stored, Compression::Balanced] {
            let whole = pack.bundle(compression);
            prop_assert!(whole == pack.bundle_in_pieces(compression, piece));
        }
    }
}
