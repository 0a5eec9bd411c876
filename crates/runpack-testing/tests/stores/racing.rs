//! Exporters that race for one run on real servers: one winner, and everybody agrees who.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Producer, Subject};
use runpack_core::pack::{BytesSource, Commit, NewArtifact, PackDraft, PackError};
use runpack_core::pin::Pins;
use runpack_core::store::s3::{S3Settings, S3Store};
use runpack_core::store::{ArtifactReader as _, Store};
use runpack_core::verify::{Code, Pack, StorePack, Verdict, VerifyOptions};
use runpack_testing::block_on;
use runpack_testing::servers::{BucketKind, Kind, shared};

/// Races in each bucket, and exporters in each race.
const RACES: u32 = 100;
const EXPORTERS: u32 = 2;
/// One crowd at the end.
const CROWD: u32 = 12;

fn subject(run_id: &str) -> Subject {
    Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "race".parse().unwrap(),
        run_id: run_id.parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    }
}

async fn open(settings: S3Settings) -> Arc<S3Store> {
    Arc::new(S3Store::open(settings).await.unwrap())
}

/// One exporter, with evidence of its own.
async fn export(store: Arc<dyn Store>, run_id: &str, who: u32) -> Result<Arc<Manifest>, PackError> {
    let producer = Producer {
        name: "racer".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let created_at = "2026-11-20T12:00:00Z".parse().unwrap();
    let mut draft = PackDraft::new(subject(run_id), created_at, producer);
    for (name, text) in [
        ("common.log", "the same".to_owned()),
        ("own.log", format!("{who}")),
    ] {
        let (kind, media_type) = ("log".parse().unwrap(), "text/plain".parse().unwrap());
        let source = Arc::new(BytesSource(text.into()));
        draft.add(NewArtifact::new(
            name.parse().unwrap(),
            kind,
            media_type,
            source,
        ));
    }
    let committed = draft.stage(store).await?.commit().await?;
    assert_eq!(committed.commit, Commit::New);
    Ok(committed.manifest)
}

/// What a reader who knows nothing beforehand sees, if anything.
async fn seen(store: &Arc<S3Store>, run_id: &str) -> Option<PackId> {
    let place = StorePack::new(store.clone(), subject(run_id));
    match Pack::open(Arc::new(place), &Limits::default()).await {
        Ok(pack) => Some(pack.manifest().pack_id()),
        Err(report) => {
            assert_eq!(
                report.findings.first().map(|f| f.code),
                Some(Code::ManifestMissing)
            );
            None
        }
    }
}

/// Lets exporters race while a reader looks on; gives how many versions of the manifest came of it.
fn race(settings: &S3Settings, run_id: &str, exporters: u32) -> usize {
    let start = Arc::new(Barrier::new(usize::try_from(exporters).unwrap() + 1));
    let is_over = Arc::new(AtomicBool::new(false));
    let racers: Vec<_> = (0..exporters)
        .map(|who| {
            let (settings, start, run_id) =
                (settings.clone(), Arc::clone(&start), run_id.to_owned());
            thread::spawn(move || {
                block_on(async {
                    let store = open(settings).await;
                    start.wait();
                    export(store, &run_id, who).await
                })
            })
        })
        .collect();
    let reader = {
        let (settings, over, run_id) = (settings.clone(), Arc::clone(&is_over), run_id.to_owned());
        thread::spawn(move || {
            block_on(async {
                let store = open(settings).await;
                let mut all = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    all.extend(seen(&store, &run_id).await);
                }
                all
            })
        })
    };
    start.wait();
    let ended: Vec<_> = racers
        .into_iter()
        .map(|racer| racer.join().unwrap())
        .collect();
    is_over.store(true, Ordering::Relaxed);
    let seen_meanwhile = reader.join().unwrap();

    let winners: BTreeSet<_> = ended
        .iter()
        .flatten()
        .map(|manifest| manifest.pack_id())
        .collect();
    assert_eq!(
        winners.len(),
        1,
        "nobody wins, or several were told that they won"
    );
    let winner = *winners.first().unwrap();
    assert_eq!(
        ended.iter().flatten().count(),
        1,
        "several were told that they won"
    );
    for lost in ended.iter().filter_map(|end| end.as_ref().err()) {
        let PackError::Conflict { ours, theirs } = lost else {
            panic!("{lost:?}");
        };
        assert!(*theirs == winner && *ours != winner, "{lost}");
    }
    assert!(
        seen_meanwhile.iter().all(|seen| *seen == winner),
        "a reader saw another winner"
    );
    block_on(async {
        let store = open(settings.clone()).await;
        let key = Location::manifest(&subject(run_id)).key().unwrap();
        let versions = store.versions(&key).await.unwrap().len();
        let place = Arc::new(StorePack::new(store, subject(run_id)));
        let pack = Pack::open(place, &Limits::default()).await.unwrap();
        assert_eq!(pack.manifest().pack_id(), winner);
        let pinned = pack
            .verify(&Pins::pack_id(winner), &VerifyOptions::default())
            .await;
        assert_eq!(pinned.verdict, Verdict::Valid, "{:?}", pinned.findings);
        let unpinned = pack.verify(&Pins::none(), &VerifyOptions::default()).await;
        let equivocal = unpinned
            .findings
            .iter()
            .any(|f| f.code == Code::StoreEquivocation);
        assert_eq!(equivocal, versions > 1, "{:?}", unpinned.findings);
        versions
    })
}

fn races(kind: Kind, bucket: BucketKind) {
    let settings = block_on(async { shared(kind).bucket(bucket).await.settings() });
    let mut several = 0;
    for number in 0..RACES {
        several += u32::from(race(&settings, &format!("race-{number}"), EXPORTERS) > 1);
    }
    let crowd = race(&settings, "crowd", CROWD);
    println!(
        "{kind:?} {bucket:?}: {RACES} races of {EXPORTERS}, one winner each; the store let several manifests in \
         {several} times; a crowd of {CROWD} left {crowd}"
    );
}

#[test]
fn w14_one_winner_on_ceph() {
    races(Kind::Ceph, BucketKind::Plain);
}

#[test]
fn w14_one_winner_on_ceph_with_versions() {
    races(Kind::Ceph, BucketKind::Versioned);
}

#[test]
fn w14_one_winner_on_ceph_with_locks() {
    races(Kind::Ceph, BucketKind::Locked);
}

#[test]
fn w14_one_winner_on_ministack() {
    races(Kind::MiniStack, BucketKind::Plain);
}

#[test]
fn w14_one_winner_on_ministack_with_versions() {
    races(Kind::MiniStack, BucketKind::Versioned);
}
