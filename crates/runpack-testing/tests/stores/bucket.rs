//! What the tests on buckets share: a pack with an artifact for each way of sending, made and verified.

use std::sync::Arc;
use std::time::Duration;

use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Producer, Subject};
use runpack_core::pack::{BytesSource, NewArtifact, PackDraft, PackError};
use runpack_core::pin::Pins;
use runpack_core::store::Store;
use runpack_core::store::s3::{S3Settings, S3Store};
use runpack_core::verify::{Pack, StorePack, VerifyOptions, VerifyReport};

pub(super) fn subject(run_id: &str) -> Subject {
    Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loan".parse().unwrap(),
        run_id: run_id.parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    }
}

/// Settings that wait seconds where a user's wait a minute.
pub(super) fn impatient(mut settings: S3Settings) -> S3Settings {
    settings.deadlines.attempt = Duration::from_secs(3);
    settings.deadlines.request = Duration::from_secs(12);
    settings.deadlines.attempts = 3;
    // Loopback is faster than that, and nobody waits minutes for a part.
    settings.deadlines.bytes_per_second_min = 4 << 20;
    settings
}

pub(super) async fn open(settings: S3Settings) -> Arc<S3Store> {
    Arc::new(S3Store::open(settings).await.unwrap())
}

fn bytes(seed: u8, count: u64) -> Vec<u8> {
    let byte = |at: u64| u8::try_from((at / 13 + u64::from(seed)) % 251).unwrap();
    (0..count).map(byte).collect()
}

/// An export: a few bytes in one request, just over a buffer in another, and an upload in three parts.
pub(super) async fn export(
    store: Arc<dyn Store>,
    run_id: &str,
    seed: u8,
) -> Result<Arc<Manifest>, PackError> {
    let producer = Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let created_at = "2026-11-20T12:00:00Z".parse().unwrap();
    let mut draft = PackDraft::new(subject(run_id), created_at, producer);
    let sizes = [
        ("small.log", 100),
        ("middle.bin", (1 << 20) + 1),
        ("large.bin", 2 * CHUNK_BYTES + 77),
    ];
    for (name, count) in sizes {
        let (kind, media_type) = ("log".parse().unwrap(), "text/plain".parse().unwrap());
        let source = Arc::new(BytesSource(bytes(seed, count).into()));
        draft.add(NewArtifact::new(
            name.parse().unwrap(),
            kind,
            media_type,
            source,
        ));
    }
    let committed = draft.stage(store).await?.commit().await?;
    Ok(committed.manifest)
}

/// The report on the run's pack, as a reader with these pins gets it.
pub(super) async fn verify(store: Arc<S3Store>, run_id: &str, pins: &Pins) -> VerifyReport {
    let place = Arc::new(StorePack::new(store, subject(run_id)));
    match Pack::open(place, &Limits::default()).await {
        Ok(pack) => pack.verify(pins, &VerifyOptions::default()).await,
        Err(report) => *report,
    }
}
