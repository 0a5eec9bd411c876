//! Packs to be found, and catalogs to find them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use runpack_catalog::{Catalog, CatalogAddress, StoreName};
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Input, Labels, Manifest, Producer, Subject};
use runpack_core::pack::{BytesSource, NewArtifact, PackDraft};
use runpack_core::store::{ArtifactReader, ArtifactSink as _, Declared, MemoryStore};
use runpack_testing::servers::PrivatePostgres;
use tempfile::TempDir;

/// A catalog in each database. They end with it.
pub(crate) struct Both {
    pub(crate) directory: TempDir,
    pub(crate) postgres: PrivatePostgres,
}

impl Both {
    pub(crate) fn start() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            postgres: PrivatePostgres::start(),
        }
    }

    /// Where a new catalog may be, in each.
    pub(crate) fn addresses(&self, name: &str) -> [CatalogAddress; 2] {
        let file = self.directory.path().join(format!("{name}.db"));
        [
            format!("sqlite:{}", file.display()),
            self.postgres.database(name),
        ]
        .map(|address| address.parse().unwrap())
    }

    pub(crate) async fn open(&self, name: &str) -> [Catalog; 2] {
        let [sqlite, postgres] = self.addresses(name);
        [
            Catalog::open(&sqlite).await.unwrap(),
            Catalog::open(&postgres).await.unwrap(),
        ]
    }
}

pub(crate) fn store_name() -> StoreName {
    StoreName {
        place: "s3://evidence/ci".to_owned(),
        region: Some("eu-west-1".to_owned()),
    }
}

pub(crate) fn reader(store: &MemoryStore) -> Arc<dyn ArtifactReader> {
    Arc::new(store.clone())
}

/// An artifact of these bytes.
pub(crate) fn artifact(name: &str, bytes: &[u8]) -> Artifact {
    Artifact::new(
        name.parse().unwrap(),
        "dataset".parse().unwrap(),
        "text/csv".parse().unwrap(),
        u64::try_from(bytes.len()).unwrap(),
        Content::Whole(Digest::of(bytes)),
    )
    .unwrap()
}

pub(crate) fn kind(name: &str, bytes: &[u8], kind: &str, media_type: &str) -> Artifact {
    Artifact::new(
        name.parse().unwrap(),
        kind.parse().unwrap(),
        media_type.parse().unwrap(),
        u64::try_from(bytes.len()).unwrap(),
        Content::Whole(Digest::of(bytes)),
    )
    .unwrap()
}

pub(crate) fn input(pack: PackId, name: &str, bytes: &[u8]) -> Input {
    Input {
        commitment: Digest::of(bytes),
        name: name.parse().unwrap(),
        pack,
    }
}

pub(crate) fn run(tenant: &str, run_id: &str) -> Subject {
    Subject::Run {
        tenant: tenant.parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "training".parse().unwrap(),
        run_id: run_id.parse().unwrap(),
        spec_hash: runpack_core::id::SpecHash::new(Digest::of(b"spec")),
    }
}

pub(crate) fn manifest(
    subject: Subject,
    created_at: &str,
    labels: &[(&str, &str)],
    artifacts: Vec<Artifact>,
) -> Arc<Manifest> {
    let labels: Labels = labels
        .iter()
        .map(|(label, value)| (label.parse().unwrap(), value.parse().unwrap()))
        .collect::<BTreeMap<_, _>>();
    let producer = Producer {
        name: "runpack".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    };
    let created_at = created_at.parse().unwrap();
    let limits = Limits::default();
    Arc::new(Manifest::new(subject, created_at, producer, artifacts, labels, &limits).unwrap())
}

/// Puts a manifest where it belongs; a catalog reads nothing else.
pub(crate) async fn commit(store: &MemoryStore, manifest: &Manifest) {
    let key = Location::manifest(manifest.subject()).key().unwrap();
    let bytes = manifest.to_bytes();
    let declared = Declared::of(&bytes);
    store.put(&key, bytes.into(), declared).await.unwrap();
}

/// A whole pack with one artifact, `data.csv`, of these bytes.
pub(crate) async fn committed(store: &MemoryStore, subject: Subject, data: &str) {
    let producer = Producer {
        name: "runpack".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    };
    let mut draft = PackDraft::new(subject, "2026-11-20T12:00:00Z".parse().unwrap(), producer);
    draft.add(NewArtifact::new(
        "data.csv".parse().unwrap(),
        "dataset".parse().unwrap(),
        "text/csv".parse().unwrap(),
        Arc::new(BytesSource(data.to_owned().into())),
    ));
    let staged = draft.stage(Arc::new(store.clone())).await.unwrap();
    staged.commit().await.unwrap();
}

pub(crate) async fn exported(catalog: &Catalog) -> String {
    let parts: Vec<String> = catalog.export().try_collect().await.unwrap();
    parts.concat()
}
