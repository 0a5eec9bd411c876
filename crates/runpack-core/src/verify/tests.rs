//! Tests of the verifier on packs in memory, with the store for an enemy.

use bytes::Bytes;

use super::*;
use crate::commitment::CHUNK_LEN;
use crate::id::PackId;
use crate::key::Location;
use crate::manifest::{Producer, Subject};
use crate::pack::{BytesSource, Commit, NewArtifact, PackDraft};
use crate::store::MemoryStore;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn subject(run_id: &str) -> Subject {
    Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loan".parse().unwrap(),
        run_id: run_id.parse().unwrap(),
        spec_hash: format!("sha256:{}", crate::digest::Digest::of(b"spec"))
            .parse()
            .unwrap(),
    }
}

pub(crate) fn draft(run_id: &str, created_at: &str, artifacts: &[(&str, Vec<u8>)]) -> PackDraft {
    let producer = Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let mut draft = PackDraft::new(subject(run_id), created_at.parse().unwrap(), producer);
    for (name, bytes) in artifacts {
        let source = Arc::new(BytesSource(bytes.clone().into()));
        let kind = if *name == "spec.json" { "spec" } else { "data" };
        let (name, kind) = (name.parse().unwrap(), kind.parse().unwrap());
        draft.add(NewArtifact::new(name, kind, "a/b".parse().unwrap(), source));
    }
    draft
}

const AT: &str = "2026-11-20T12:00:00Z";

/// A spec, an empty artifact, two small ones, one of exactly a chunk and one of three chunks.
fn artifacts() -> Vec<(&'static str, Vec<u8>)> {
    let large = (0..2 * CHUNK_LEN + 77)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    vec![
        ("spec.json", b"spec".to_vec()),
        ("empty", Vec::new()),
        ("a/one", b"one".to_vec()),
        ("a/two", b"two".to_vec()),
        ("chunk", vec![7; CHUNK_LEN]),
        ("large", large),
    ]
}

struct Made {
    store: MemoryStore,
    pack_id: PackId,
}

fn made() -> Made {
    let store = MemoryStore::new();
    let committed = block_on(async {
        let staged = draft("r1", AT, &artifacts())
            .stage(Arc::new(store.clone()))
            .await
            .unwrap();
        staged.commit().await.unwrap()
    });
    assert_eq!(committed.commit, Commit::New);
    Made {
        store,
        pack_id: committed.manifest.pack_id(),
    }
}

impl Made {
    fn verify(&self, pins: &Pins, level: Level) -> VerifyReport {
        let container = Arc::new(StorePack::new(Arc::new(self.store.clone()), subject("r1")));
        block_on(async {
            match Pack::open(container, &Limits::default()).await {
                Ok(pack) => pack.verify(pins, &VerifyOptions::level(level)).await,
                Err(report) => *report,
            }
        })
    }

    /// The codes of a full, pinned verification; empty where the pack is valid.
    fn codes(&self) -> Vec<(Code, String)> {
        let report = self.verify(&Pins::pack_id(self.pack_id), Level::Deep);
        assert_eq!(report.verdict == Verdict::Valid, report.findings.is_empty());
        let found = |f: Finding| (f.code, f.about.unwrap_or_default());
        report.findings.into_iter().map(found).collect()
    }

    fn key(&self, name: &str) -> String {
        let found = |key: &&String| key.ends_with(name);
        self.store.snapshot().keys().find(found).unwrap().clone()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let key = self.key(name);
        let mut bytes = self.store.snapshot()[&key].to_vec();
        change(&mut bytes);
        self.store.tamper(&key, Some(bytes.into()));
    }
}

#[test]
fn verdicts_rest_on_pins_and_levels() {
    let made = made();
    let pinned = Pins::pack_id(made.pack_id);
    assert_eq!(made.verify(&pinned, Level::Full).verdict, Verdict::Valid);
    assert_eq!(made.verify(&pinned, Level::Deep).verdict, Verdict::Valid);
    assert_eq!(
        made.verify(&pinned, Level::Presence).verdict,
        Verdict::Consistent
    );
    assert_eq!(
        made.verify(&Pins::none(), Level::Full).verdict,
        Verdict::Consistent
    );
    let mut receipt = Pins::none();
    receipt.recorded = vec![vec![PackId::of(b"other"), made.pack_id]];
    let report = made.verify(&receipt, Level::Full);
    assert_eq!(
        (report.verdict, report.artifacts_proven),
        (Verdict::Valid, 6)
    );
    assert!(report.into_verified().is_ok());
    assert!(
        made.verify(&Pins::none(), Level::Full)
            .into_verified()
            .is_err()
    );
    // An identity narrows, and never vouches.
    let mut identity = Pins::none();
    identity.identity = vec![("tenant".into(), "acme".into())];
    assert_eq!(
        made.verify(&identity, Level::Full).verdict,
        Verdict::Consistent
    );
    identity.identity = vec![("tenant".into(), "other".into())];
    assert_eq!(
        made.verify(&identity, Level::Full).verdict,
        Verdict::Invalid
    );
}

#[test]
fn s01_a_flipped_bit_anywhere() {
    for (name, bytes) in artifacts() {
        let places = [0, bytes.len() / 2, bytes.len().saturating_sub(1)];
        for at in places.into_iter().filter(|at| *at < bytes.len()) {
            let made = made();
            made.change(name, |bytes| bytes[at] ^= 1);
            assert_eq!(
                made.codes(),
                [(Code::ArtifactDigest, name.to_owned())],
                "{name} {at}"
            );
        }
    }
}

#[test]
fn s01_damaged_chunks_are_named() {
    let made = made();
    made.change("large", |bytes| {
        bytes[CHUNK_LEN] ^= 1;
        bytes[2 * CHUNK_LEN + 3] ^= 1;
    });
    let report = made.verify(&Pins::pack_id(made.pack_id), Level::Full);
    assert_eq!(report.findings[0].damaged_chunks, [1, 2]);
}

#[test]
fn s02_s03_other_sizes() {
    for (name, bytes) in artifacts() {
        let made = made();
        made.change(name, |bytes| bytes.push(0));
        assert_eq!(
            made.codes(),
            [(Code::ArtifactSize, name.to_owned())],
            "{name} longer"
        );
        if !bytes.is_empty() {
            made.change(name, |bytes| bytes.truncate(bytes.len() - 2));
            assert_eq!(
                made.codes(),
                [(Code::ArtifactSize, name.to_owned())],
                "{name} shorter"
            );
        }
    }
}

#[test]
fn s07_swapped_artifacts() {
    let made = made();
    let (one, two) = (made.key("a/one"), made.key("a/two"));
    let snapshot = made.store.snapshot();
    made.store.tamper(&one, snapshot.get(&two).cloned());
    made.store.tamper(&two, snapshot.get(&one).cloned());
    let expected = ["a/one", "a/two"].map(|name| (Code::ArtifactDigest, name.to_owned()));
    assert_eq!(made.codes(), expected);
}

#[test]
fn s08_s09_another_packs_manifest_and_artifacts() {
    let made = made();
    let other = draft("r2", AT, &[("a/one", b"other".to_vec())]);
    let other = block_on(async {
        other
            .stage(Arc::new(made.store.clone()))
            .await
            .unwrap()
            .commit()
            .await
    });
    let other = other.unwrap().manifest;
    // Its artifact in our place.
    let theirs = Location::artifact(
        other.subject(),
        other.artifacts()[0].name(),
        other.artifacts()[0].commitment(),
    );
    let bytes = made.store.snapshot()[theirs.key().unwrap().as_str()].clone();
    let ours = made.key("a/one");
    let kept = made.store.snapshot()[&ours].clone();
    made.store.tamper(&ours, Some(bytes));
    assert_ne!(
        made.verify(&Pins::pack_id(made.pack_id), Level::Full)
            .verdict,
        Verdict::Valid
    );
    made.store.tamper(&ours, Some(kept));
    // Its manifest in our place: another subject, though nobody pinned a pack id.
    let key = Location::manifest(&subject("r1")).key().unwrap();
    made.store
        .tamper(key.as_str(), Some(other.to_bytes().into()));
    let report = made.verify(&Pins::none(), Level::Full);
    assert_eq!(report.verdict, Verdict::Invalid);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.code == Code::PinIdentity)
    );
}

#[test]
fn s13_s14_missing_manifest_and_artifacts() {
    let made = made();
    made.store.tamper(&made.key("a/one"), None);
    made.store.tamper(&made.key("empty"), None);
    let expected = ["a/one", "empty"].map(|name| (Code::ArtifactMissing, name.to_owned()));
    assert_eq!(made.codes(), expected);
    made.store.tamper(&made.key("/manifest.json"), None);
    assert_eq!(made.codes(), [(Code::ManifestMissing, String::new())]);
}

#[test]
fn s15_residue_in_a_live_store_is_told_and_bears_on_nothing() {
    let made = made();
    let key = made.key("a/one").replace("a/one", "a/stray");
    made.store.tamper(&key, Some(Bytes::from_static(b"stray")));
    let report = made.verify(&Pins::pack_id(made.pack_id), Level::Full);
    assert_eq!(report.verdict, Verdict::Valid);
    assert!(
        report.notes.iter().any(|note| note.contains("residue")),
        "{:?}",
        report.notes
    );
}

#[test]
fn s10_s12_rollback_and_equivocation() {
    let store = MemoryStore::versioned();
    let export = |created_at: &str, byte: u8| {
        let artifacts = vec![("a", vec![byte])];
        let draft = draft("r1", created_at, &artifacts);
        let store = Arc::new(store.clone());
        block_on(async { draft.stage(store).await.unwrap().commit().await })
    };
    let first = export(AT, 1).unwrap().manifest.pack_id();
    // Such a store lets the second create win as well; the oldest version is the commit all the same.
    let lost = export(AT, 2).unwrap_err();
    assert!(
        matches!(lost, crate::pack::PackError::Conflict { theirs, .. } if theirs == first),
        "{lost}"
    );
    let made = Made {
        store,
        pack_id: first,
    };
    let report = made.verify(&Pins::none(), Level::Full);
    assert_eq!(report.findings[0].code, Code::StoreEquivocation);
    assert_eq!(
        made.verify(&Pins::pack_id(first), Level::Full).verdict,
        Verdict::Valid
    );
    let rolled_back = made.verify(&Pins::pack_id(PackId::of(b"the newer one")), Level::Full);
    assert_eq!(rolled_back.verdict, Verdict::Invalid);
}

#[test]
fn b15_lineage_is_said_and_never_followed() {
    // An artifact made from itself, and from a pack that nobody has: words, which a verifier leaves alone.
    let store = MemoryStore::new();
    let mut draft = draft("r1", AT, &[]);
    let (name, kind) = ("a".parse().unwrap(), "data".parse().unwrap());
    let source = Arc::new(BytesSource(Bytes::from_static(b"a")));
    let mut circular = NewArtifact::new(name, kind, "a/b".parse().unwrap(), source);
    circular.inputs = vec![crate::manifest::Input {
        commitment: crate::digest::Digest::of(b"a"),
        name: circular.name.clone(),
        pack: PackId::of(b"no such pack"),
    }];
    draft.add(circular);
    let pack_id = block_on(async {
        let staged = draft.stage(Arc::new(store.clone())).await.unwrap();
        staged.commit().await.unwrap().manifest.pack_id()
    });
    let made = Made { store, pack_id };
    assert_eq!(made.codes(), []);
}

#[test]
fn a_wrong_claimed_digest_is_found_by_deep_alone() {
    let store = MemoryStore::new();
    let large = artifacts().pop().unwrap().1;
    let manifest = block_on(async {
        let staged = draft("r1", AT, &[("large", large)])
            .stage(Arc::new(store.clone()))
            .await;
        staged.unwrap().manifest().clone()
    });
    let artifact = manifest.artifacts()[0].clone();
    assert!(artifact.claimed_sha256().is_some());
    let forged = artifact.with_claimed_sha256(crate::digest::Digest::of(b"a lie"));
    let forged = Manifest::new(
        manifest.subject().clone(),
        manifest.created_at(),
        manifest.producer().clone(),
        vec![forged],
        manifest.labels().clone(),
        &Limits::default(),
    )
    .unwrap();
    let key = Location::manifest(&subject("r1")).key().unwrap();
    store.tamper(key.as_str(), Some(forged.to_bytes().into()));
    let made = Made {
        store,
        pack_id: forged.pack_id(),
    };
    let full = made.verify(&Pins::pack_id(made.pack_id), Level::Full);
    assert_eq!(full.verdict, Verdict::Valid);
    assert!(
        full.notes
            .iter()
            .any(|note| note.contains("claimed digests not checked"))
    );
    assert_eq!(made.codes(), [(Code::ArtifactClaimed, "large".to_owned())]);
}

#[test]
fn verified_reads_never_hand_out_an_unverified_byte() {
    let made = made();
    let pack = |store: &MemoryStore| {
        let container = Arc::new(StorePack::new(Arc::new(store.clone()), subject("r1")));
        block_on(Pack::open(container, &Limits::default())).unwrap()
    };
    let pins = Pins::pack_id(made.pack_id);
    assert!(pack(&made.store).pinned(&Pins::none()).is_err());
    assert!(
        pack(&made.store)
            .pinned(&Pins::pack_id(PackId::of(b"")))
            .is_err()
    );
    let large = artifacts().pop().unwrap().1;
    let chunk = crate::commitment::CHUNK_BYTES;
    let read = |range: std::ops::Range<u64>| {
        let pack = pack(&made.store).pinned(&pins).unwrap();
        block_on(async {
            let mut read = pack.read("large", range).unwrap();
            let mut bytes = Vec::new();
            while let Some(piece) = read.next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, crate::read::ReadError>(bytes)
        })
    };
    for range in [
        0..0,
        0..5,
        3..chunk,
        chunk - 1..chunk + 1,
        0..u64::MAX,
        2 * chunk..2 * chunk + 77,
        u64::MAX - 1..u64::MAX,
    ] {
        let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(large.len());
        assert_eq!(
            read(range.clone()).unwrap(),
            large[at(range.start)..at(range.end)],
            "{range:?}"
        );
    }
    made.change("large", |bytes| bytes[CHUNK_LEN + 5] ^= 1);
    assert!(read(0..chunk).is_ok());
    assert!(matches!(
        read(chunk..chunk + 1),
        Err(crate::read::ReadError::Damaged { chunk: 1, .. })
    ));
    assert!(matches!(
        pack(&made.store)
            .pinned(&pins)
            .unwrap()
            .read("nothing", 0..1),
        Err(crate::read::ReadError::NoSuchArtifact { .. })
    ));
}
