//! A pack in a store that lies: whatever it says, the verdict is never wrongly valid, and no reader
//! gets an unverified byte.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::key::Location;
use runpack_core::manifest::{Producer, Subject};
use runpack_core::pack::{BytesSource, NewArtifact, PackDraft};
use runpack_core::pin::Pins;
use runpack_core::read::ReadError;
use runpack_core::store::{FileStore, MemoryStore, Store};
use runpack_core::verify::{Pack, StorePack, Verdict, VerifyOptions, VerifyReport};
use runpack_testing::{Lie, LyingStore, block_on, scratch};

fn subject() -> Subject {
    Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loan".parse().unwrap(),
        run_id: "r1".parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    }
}

/// A pack of a small artifact and one of two chunks, and what is known of it.
async fn pack_in(store: Arc<dyn Store>) -> Pins {
    let producer = Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let mut draft = PackDraft::new(subject(), "2026-11-20T12:00:00Z".parse().unwrap(), producer);
    let large = vec![7; usize::try_from(CHUNK_BYTES).unwrap() + 1_000];
    for (name, bytes) in [("small", b"small".to_vec()), ("large", large)] {
        let source = Arc::new(BytesSource(bytes.into()));
        let (kind, media_type) = ("data".parse().unwrap(), "a/b".parse().unwrap());
        draft.add(NewArtifact::new(
            name.parse().unwrap(),
            kind,
            media_type,
            source,
        ));
    }
    let committed = draft.stage(store).await.unwrap().commit().await.unwrap();
    Pins::pack_id(committed.manifest.pack_id())
}

fn open(store: Arc<LyingStore>) -> Result<Pack, Box<VerifyReport>> {
    let container = Arc::new(StorePack::new(store, subject()));
    block_on(Pack::open(container, &VerifyOptions::default().limits))
}

fn verify(store: Arc<LyingStore>, pins: &Pins) -> VerifyReport {
    match open(store) {
        Ok(pack) => block_on(pack.verify(pins, &VerifyOptions::default())),
        Err(report) => *report,
    }
}

/// The verdict and codes where the store lies so about keys that end so.
fn lied(lie: Lie, suffix: &str) -> (Verdict, Vec<&'static str>, u64) {
    let store = Arc::new(MemoryStore::new());
    let pins = block_on(pack_in(store.clone()));
    let store = Arc::new(LyingStore::new(store, lie).about_suffix(suffix));
    let report = verify(store.clone(), &pins);
    let codes = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    (report.verdict, codes, store.bytes_served())
}

fn assert_lie(lie: Lie, suffix: &str, verdict: Verdict, codes: &[&str]) {
    let shown = format!("{lie:?} {suffix}");
    let (found, found_codes, _) = lied(lie, suffix);
    assert_eq!((found, found_codes.as_slice()), (verdict, codes), "{shown}");
}

#[test]
fn s01_s20_other_bytes() {
    for (suffix, bit) in [
        ("/small", 0),
        ("/small", 39),
        ("/large", 8 * (CHUNK_BYTES + 3)),
    ] {
        assert_lie(
            Lie::FlipBit(bit),
            suffix,
            Verdict::Invalid,
            &["artifact.digest"],
        );
    }
    let page = Bytes::from_static(b"<Error><Code>SlowDown</Code></Error>");
    assert_lie(
        Lie::Serve(page.clone()),
        "/small",
        Verdict::Invalid,
        &["artifact.size"],
    );
    assert_lie(
        Lie::Serve(page),
        "/manifest.json",
        Verdict::Invalid,
        &["manifest.syntax"],
    );
    let same_size = Bytes::from_static(b"smell");
    assert_lie(
        Lie::Serve(same_size),
        "/small",
        Verdict::Invalid,
        &["artifact.digest"],
    );
}

#[test]
fn s02_s03_too_few_bytes_and_too_many() {
    for suffix in ["/small", "/large"] {
        for lie in [
            Lie::Truncate(3),
            Lie::CutOff(3),
            Lie::CutOff(0),
            Lie::Extend,
        ] {
            assert_lie(lie, suffix, Verdict::Invalid, &["artifact.size"]);
        }
    }
}

#[test]
fn s03_an_endless_artifact_is_left_right_after_its_end() {
    let (verdict, codes, served) = lied(Lie::ExtendBeyondRange, "/small");
    assert_eq!((verdict, codes), (Verdict::Invalid, vec!["artifact.size"]));
    assert!(served < 1 << 20, "{served} bytes were read of five");
}

#[test]
fn s05_s18_false_sizes() {
    for claim in [0, 1, u64::MAX] {
        assert_lie(
            Lie::Claim(claim),
            "/small",
            Verdict::Invalid,
            &["artifact.size"],
        );
        assert_lie(
            Lie::Claim(claim),
            "/large",
            Verdict::Invalid,
            &["artifact.size"],
        );
        // The manifest's size is nowhere believed: only its bytes count.
        assert_lie(Lie::Claim(claim), "/manifest.json", Verdict::Valid, &[]);
    }
}

#[test]
fn s13_s14_hidden_objects() {
    assert_lie(Lie::Hide, "/small", Verdict::Invalid, &["artifact.missing"]);
    assert_lie(Lie::Hide, "/large", Verdict::Invalid, &["artifact.missing"]);
}

#[test]
fn s16_s17_no_verdict_rests_on_a_listing() {
    for lie in [Lie::ListNothing, Lie::ListForever, Lie::list_garbage()] {
        assert_lie(lie, "", Verdict::Valid, &[]);
    }
}

#[test]
fn s19_what_changes_between_two_reads_is_never_handed_out() {
    let store = Arc::new(MemoryStore::new());
    let pins = block_on(pack_in(store.clone()));
    let later = Lie::ServeLater(Bytes::from_static(b"later"));
    let store = Arc::new(LyingStore::new(store, later).about_suffix("/small"));
    let report = verify(store.clone(), &pins);
    let reader = report.into_verified().unwrap().reader().unwrap();
    let read = block_on(reader.read_to_vec("small", 100));
    assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
}

#[test]
fn n02_a_store_that_fails_leaves_the_verdict_undecided() {
    for lie in [
        Lie::Fail(ErrorKind::TimedOut),
        Lie::FailAfter(2, ErrorKind::ConnectionReset),
    ] {
        assert_lie(
            lie.clone(),
            "/small",
            Verdict::Undecided,
            &["artifact.unread"],
        );
        assert_lie(
            lie.clone(),
            "/large",
            Verdict::Undecided,
            &["artifact.unread"],
        );
        assert_lie(
            lie,
            "/manifest.json",
            Verdict::Undecided,
            &["manifest.unread"],
        );
    }
}

#[test]
fn s21_a_place_that_a_pack_names_is_never_gone_to() {
    // A label is free text: one that looks like a location is a label all the same.
    let store = Arc::new(MemoryStore::new());
    let producer = Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let draft = PackDraft::new(subject(), "2026-11-20T12:00:00Z".parse().unwrap(), producer);
    let label = "http://169.254.169.254/latest/meta-data".parse().unwrap();
    let mut draft = draft.with_labels([("storage_uri".parse().unwrap(), label)].into());
    let (kind, media_type) = ("data".parse().unwrap(), "a/b".parse().unwrap());
    let source = Arc::new(BytesSource(Bytes::from_static(b"a")));
    draft.add(NewArtifact::new(
        "a".parse().unwrap(),
        kind,
        media_type,
        source,
    ));
    let committed = block_on(async { draft.stage(store.clone()).await?.commit().await }).unwrap();
    let pins = Pins::pack_id(committed.manifest.pack_id());
    // Only what the layout derives is opened: everything else would fail.
    let ours = Location::pack_prefix(&subject()).to_string();
    let elsewhere = move |key: &runpack_core::key::ObjectKey| !key.as_str().starts_with(&ours);
    let store = LyingStore::new(store, Lie::Fail(ErrorKind::Other)).about(elsewhere);
    assert_eq!(verify(Arc::new(store), &pins).verdict, Verdict::Valid);
}

#[test]
fn t01_no_clock_bears_on_a_verdict() {
    // A pack made in what any clock here takes for the future, and one from the first second there is.
    for created_at in ["9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z"] {
        let store = Arc::new(MemoryStore::new());
        let producer = Producer {
            name: "test".parse().unwrap(),
            version: "1".parse().unwrap(),
        };
        let mut draft = PackDraft::new(subject(), created_at.parse().unwrap(), producer);
        let (kind, media_type) = ("data".parse().unwrap(), "a/b".parse().unwrap());
        let source = Arc::new(BytesSource(Bytes::from_static(b"a")));
        draft.add(NewArtifact::new(
            "a".parse().unwrap(),
            kind,
            media_type,
            source,
        ));
        let pins = block_on(async {
            let committed = draft
                .stage(store.clone())
                .await
                .unwrap()
                .commit()
                .await
                .unwrap();
            Pins::pack_id(committed.manifest.pack_id())
        });
        let truth = Arc::new(LyingStore::new(store, Lie::ListNothing));
        assert_eq!(verify(truth, &pins).verdict, Verdict::Valid);
    }
}

#[test]
fn a_file_store_serves_a_verifier_in_a_runtime_as_well() {
    let root = scratch();
    block_on(async {
        let store = Arc::new(FileStore::create(root.path()).await.unwrap());
        let pins = pack_in(store.clone()).await;
        let options = VerifyOptions::default();
        let container = Arc::new(StorePack::new(store, subject()));
        let pack = Pack::open(container, &options.limits).await.unwrap();
        let report = pack.verify(&pins, &options).await;
        assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
        assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    });
}
