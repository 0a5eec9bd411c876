//! Downloads: whole or not there, and going on where they were.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a failed assertion is how a test speaks"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::limits::Limits;
use crate::pin::Pins;
use crate::store::MemoryStore;
use crate::verify::tests::{block_on, draft};
use crate::verify::{Pack, StorePack, Verdict, VerifyOptions, VerifyReport};

/// A pack with artifacts of no byte, of some, of exactly one chunk and of two and a half.
async fn pack(store: &MemoryStore) -> Subject {
    let chunk = usize::try_from(CHUNK_BYTES).unwrap();
    let sizes = [
        ("empty", 0),
        ("logs/small.log", 1_000),
        ("one.bin", chunk),
        ("deep/er/large.bin", chunk * 5 / 2),
    ];
    let artifacts = sizes.map(|(name, bytes)| {
        let byte = |at: usize| u8::try_from((at / 7) % 251).unwrap();
        (name, (0..bytes).map(byte).collect::<Vec<u8>>())
    });
    let draft = draft("run-1", "2026-11-20T12:00:00Z", &artifacts);
    let staged = draft.stage(Arc::new(store.clone())).await.unwrap();
    let committed = staged.commit().await.unwrap();
    committed.manifest.subject().clone()
}

/// A container that counts what is read of it, and fails after so many requests.
#[derive(Debug)]
struct Wire {
    inner: StorePack,
    bytes: Arc<AtomicU64>,
    requests: AtomicU64,
    requests_max: u64,
}

#[async_trait]
impl Container for Wire {
    async fn manifest(&self, bytes_max: u64) -> Result<ManifestFound, StoreError> {
        self.inner.manifest(bytes_max).await
    }

    async fn open(&self, artifact: &Artifact, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= self.requests_max {
            return Err(StoreError::Unavailable {
                action: "reading",
                key: String::new(),
                source: "the line is cut".into(),
            });
        }
        let body = self.inner.open(artifact, range).await?;
        let bytes = Arc::clone(&self.bytes);
        let bytes_claimed = body.bytes_claimed;
        let pieces = stream::unfold(body, |mut body| async { Some((body.next().await?, body)) });
        // Pieces as small as a network's.
        let pieces = pieces.flat_map(|piece| {
            let piece = piece.unwrap();
            let parts = piece.chunks(100_000).map(Bytes::copy_from_slice);
            stream::iter(parts.collect::<Vec<_>>())
        });
        let stream = pieces.map(move |piece| {
            bytes.fetch_add(len_u64(&piece), Ordering::Relaxed);
            Ok(piece)
        });
        Ok(ObjectBody {
            bytes_claimed,
            stream: stream.boxed(),
        })
    }

    async fn unlisted(&self, manifest: &Arc<Manifest>, max: usize) -> Result<Unlisted, StoreError> {
        self.inner.unlisted(manifest, max).await
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Downloads over a line that is cut after `requests_max` requests; gives the report and what went over it.
async fn download(
    store: &MemoryStore,
    subject: &Subject,
    target: &Path,
    requests_max: u64,
) -> (VerifyReport, u64, Arc<Download>) {
    let bytes = Arc::new(AtomicU64::new(0));
    let wire = Wire {
        inner: StorePack::new(Arc::new(store.clone()), subject.clone()),
        bytes: Arc::clone(&bytes),
        requests: AtomicU64::new(0),
        requests_max,
    };
    let download = Arc::new(Download::new(Arc::new(wire), target).unwrap());
    let pack = Pack::open(download.clone(), &Limits::default())
        .await
        .unwrap();
    let report = pack.verify(&Pins::none(), &VerifyOptions::default()).await;
    (report, bytes.load(Ordering::Relaxed), download)
}

fn verdict_of(directory: &Path) -> Verdict {
    let directory = Arc::new(PackDirectory::open(directory).unwrap());
    block_on(async {
        let pack = Pack::open(directory, &Limits::default()).await.unwrap();
        pack.verify(&Pins::none(), &VerifyOptions::default())
            .await
            .verdict
    })
}

#[test]
fn a_pack_comes_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("out");
    let store = MemoryStore::new();
    let subject = block_on(pack(&store));
    let (report, bytes, download) = block_on(download(&store, &subject, &target, u64::MAX));
    assert_eq!(report.verdict, Verdict::Consistent);
    assert_eq!(bytes, report.manifest.unwrap().artifact_bytes());
    assert!(!target.exists());
    download.finish().unwrap();
    assert_eq!(verdict_of(&target), Verdict::Consistent);
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn w21_a_download_that_was_cut_goes_on_where_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("out");
    let store = MemoryStore::new();
    let subject = block_on(pack(&store));
    let mut total = 0;
    let mut cuts = 0;
    let whole = loop {
        let (report, bytes, download) = block_on(download(&store, &subject, &target, 2));
        total += bytes;
        let whole = report.manifest.as_ref().unwrap().artifact_bytes();
        if report.verdict == Verdict::Consistent {
            download.finish().unwrap();
            break whole;
        }
        assert_eq!(report.verdict, Verdict::Undecided, "{report:?}");
        assert!(!target.exists());
        cuts += 1;
        assert!(cuts < 50, "it makes no progress");
    };
    assert!(cuts > 0);
    // What came once does not come again.
    assert_eq!(total, whole);
    assert_eq!(verdict_of(&target), Verdict::Consistent);
}

#[test]
fn what_was_kept_and_does_not_hold_comes_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("out");
    let store = MemoryStore::new();
    let subject = block_on(pack(&store));
    let place = {
        let (_, _, first) = block_on(download(&store, &subject, &target, u64::MAX));
        first.unfinished().unwrap().to_owned()
    };
    let kept = place.join("pack/deep/er/large.bin");
    let mut bytes = fs::read(&kept).unwrap();
    bytes[9_000_000] ^= 1;
    bytes.extend_from_slice(b"longer than it should be");
    fs::write(&kept, bytes).unwrap();
    fs::write(place.join("pack/logs/small.log"), b"short").unwrap();
    let (report, bytes, download) = block_on(download(&store, &subject, &target, u64::MAX));
    assert_eq!(report.verdict, Verdict::Consistent);
    assert_eq!(bytes, CHUNK_BYTES + 1_000);
    // Files that are not of the pack are not published with it.
    fs::write(place.join("pack/stranger"), b"x").unwrap();
    let refused = download.finish().unwrap_err().to_string();
    assert!(refused.contains("stranger"), "{refused}");
    assert!(!target.exists());
    fs::remove_file(place.join("pack/stranger")).unwrap();
    download.finish().unwrap();
    assert_eq!(verdict_of(&target), Verdict::Consistent);
}

#[test]
fn a_damaged_pack_is_never_published_and_two_downloads_do_not_mix() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("out");
    let store = MemoryStore::new();
    let subject = block_on(pack(&store));
    let large = store
        .snapshot()
        .into_iter()
        .find(|(key, _)| key.ends_with("large.bin"));
    let (key, bytes) = large.unwrap();
    let mut damaged = bytes.to_vec();
    damaged[0] ^= 1;
    store.tamper(&key, Some(damaged.into()));
    let (report, _, _held) = block_on(download(&store, &subject, &target, u64::MAX));
    assert_eq!(report.verdict, Verdict::Invalid);
    assert!(!target.exists());
    // While one is at work, another of the same pack is refused.
    let wire = StorePack::new(Arc::new(store.clone()), subject);
    let second = Arc::new(Download::new(Arc::new(wire), &target).unwrap());
    let refused = block_on(Pack::open(second, &Limits::default())).unwrap_err();
    assert_eq!(refused.verdict, Verdict::Undecided);
    fs::create_dir(&target).unwrap();
    let wire = StorePack::new(Arc::new(store), refused_subject());
    assert!(Download::new(Arc::new(wire), &target).is_err());
}

fn refused_subject() -> Subject {
    Subject::Execution {
        execution_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
    }
}

#[test]
fn a_place_that_somebody_else_prepared_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = tempfile::tempdir().unwrap();
    let (target, elsewhere) = (scratch.path().join("out"), scratch.path().join("elsewhere"));
    let store = MemoryStore::new();
    let subject = block_on(pack(&store));
    let place = {
        let (_, _, first) = block_on(download(&store, &subject, &target, u64::MAX));
        first.unfinished().unwrap().to_owned()
    };
    let refused = || {
        let wire = StorePack::new(Arc::new(store.clone()), subject.clone());
        let again = Arc::new(Download::new(Arc::new(wire), &target).unwrap());
        let report = block_on(Pack::open(again, &Limits::default())).unwrap_err();
        assert_eq!(report.verdict, Verdict::Undecided);
        assert!(
            report.findings[0].detail.contains("this user alone"),
            "{report:?}"
        );
    };
    // Others may write to it.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    refused();
    // It is a link to somewhere else.
    fs::remove_dir_all(&place).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    refused();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}
