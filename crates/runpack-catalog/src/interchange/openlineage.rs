//! OpenLineage, 2-0-2: for each pack the event that its run began, and the one that it ended.
//!
//! What is a job, a run and a dataset, and the facet of our own, are written down in `Docs/spec/openlineage-v1.md`. A dataset
//! is what goes on from run to run; the commitment is its version. Each is also known by its pack (`symlinks`), so that a run
//! which only names a pack is joined to what is known of that pack.

use std::collections::BTreeMap;

use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::manifest::Subject;
use runpack_core::time::Timestamp;
use serde_json::{Map, Value, json};

use super::{Account, Interchange, Outcome, Source, Told, label, name, set};
use crate::entry::ArtifactEntry;

/// What turned packs into events: these rules, whichever program follows them.
const PRODUCER: &str = "urn:runpack:openlineage:v1";
const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const FACETS: &str = "https://openlineage.io/spec/facets";
/// `Docs/spec/openlineage-integrity-v1.schema.json`.
const INTEGRITY: &str = "urn:runpack:openlineage-integrity:v1#/$defs";
/// What artifacts are known by that are named by their pack.
const BY_PACK: &str = "urn:runpack:pack";

impl Interchange {
    /// Events of OpenLineage, two for each pack, in the order of time: each is one `RunEvent`, to be sent by itself.
    pub fn to_openlineage(&self) -> impl Iterator<Item = Value> {
        self.packs
            .iter()
            .flat_map(|account| [started(account), ended(account)])
    }
}

fn started(account: &Account) -> Value {
    let at = account.started_at.unwrap_or(account.pack.created_at);
    event(account, "START", at)
}

fn ended(account: &Account) -> Value {
    let kind = match account.outcome() {
        Outcome::Passed => "COMPLETE",
        Outcome::Failed => "FAIL",
        Outcome::Cancelled => "ABORT",
    };
    let mut event = event(account, kind, account.pack.created_at);
    set(&mut event, "inputs", inputs(account));
    let made = account.made.iter();
    set(
        &mut event,
        "outputs",
        made.map(|told| output(account, told)).collect(),
    );
    event
}

fn event(account: &Account, kind: &str, at: Timestamp) -> Value {
    let subject = &account.pack.subject;
    json!({
        "eventType": kind,
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": EVENT,
        "run": { "runId": name::run_uuid(subject), "facets": run_facets(account, kind) },
        "job": {
            "namespace": name::owner(subject),
            "name": job(account),
            "facets": {
                "jobType": standard("2-0-4", "JobTypeJobFacet", json!({
                    "processingType": "BATCH",
                    "integration": "RUNPACK",
                    "jobType": subject.kind().to_uppercase(),
                })),
            },
        },
    })
}

/// The scenario; of a step `PIPELINE.STEP` and of a pipeline's run `PIPELINE` where a label says which pipeline.
fn job(account: &Account) -> String {
    let work = name::work(&account.pack.subject);
    match (&account.pack.subject, account.label(label::PIPELINE)) {
        (Subject::Step { .. }, Some(pipeline)) => format!("{pipeline}.{work}"),
        (Subject::Pipeline { .. }, Some(pipeline)) => pipeline.to_owned(),
        _ => work,
    }
}

fn run_facets(account: &Account, kind: &str) -> Map<String, Value> {
    let mut facets = Map::new();
    let pack = &account.pack;
    let named = account
        .sources()
        .filter(|source| source.known.is_some())
        .count();
    let integrity = json!({
        "pack_id": pack.pack_id,
        "subject": pack.subject,
        "created_at": pack.created_at,
        "pack_producer": pack.producer,
        "sources": {
            "named": named,
            "claimed": account.sources().count().saturating_sub(named),
            "left_out": account.left_out,
        },
        "verified": false,
    });
    let mut add = |key: &str, facet| facets.insert(key.to_owned(), facet);
    add(
        "runpack_integrity",
        ours("RunpackIntegrityRunFacet", integrity),
    );
    if let Subject::Step { tenant, run_id, .. } = &pack.subject {
        let pipeline = account.label(label::PIPELINE).unwrap_or(name::PIPELINE);
        let parent = json!({
            "run": { "runId": name::pipeline_uuid(tenant.as_str(), run_id.as_str()) },
            "job": { "namespace": tenant, "name": pipeline },
        });
        add("parent", standard("1-2-0", "ParentRunFacet", parent));
    }
    if !account.labels.is_empty() {
        let labels = account.labels.iter();
        let tags: Value = labels
            .map(|(key, value)| json!({ "key": key, "value": value, "source": "RUNPACK" }))
            .collect();
        add(
            "tags",
            standard("1-0-0", "TagsRunFacet", json!({ "tags": tags })),
        );
    }
    if kind == "FAIL" {
        let message = account
            .label(label::ERROR)
            .or(account.label(label::OUTCOME));
        let error = json!({ "message": message, "programmingLanguage": "unknown" });
        add(
            "errorMessage",
            standard("1-0-1", "ErrorMessageRunFacet", error),
        );
    }
    facets
}

/// What the run was given, and what its artifacts were made from, each once.
fn inputs(account: &Account) -> Value {
    let mut inputs = BTreeMap::new();
    for told in &account.given {
        let artifact = &told.artifact;
        let key = (artifact.pack_id, artifact.name.clone(), artifact.commitment);
        let integrity = integrity(artifact);
        inputs.insert(key, input(&account.pack.subject, artifact, integrity));
    }
    for source in account.sources() {
        let key = (
            source.input.pack,
            source.input.name.clone(),
            source.input.commitment,
        );
        inputs.entry(key).or_insert_with(|| sourced(source));
    }
    inputs.into_values().collect()
}

fn sourced(source: &Source) -> Value {
    let named = source.known.as_ref();
    if let Some((known, subject)) = named.and_then(|known| Some((known, known.subject.as_ref()?))) {
        let mut integrity = integrity(&known.artifact);
        set(&mut integrity, "source", json!("named"));
        return input(subject, &known.artifact, integrity);
    }
    let input = &source.input;
    let integrity = json!({
        "pack_id": input.pack,
        "name": input.name,
        "commitment": input.commitment,
        "source": "claimed",
        "verified": false,
    });
    json!({
        "namespace": BY_PACK,
        "name": format!("{}/{}", input.pack, input.name),
        "facets": {
            "version": version(&input.commitment.to_string()),
            "runpack_integrity": ours("RunpackIntegrityDatasetFacet", integrity),
        },
    })
}

fn input(subject: &Subject, artifact: &ArtifactEntry, integrity: Value) -> Value {
    let mut input = dataset(subject, artifact, integrity);
    let statistics = json!({ "size": artifact.bytes, "fileCount": 1 });
    let statistics = standard("1-0-0", "InputStatisticsInputDatasetFacet", statistics);
    set(
        &mut input,
        "inputFacets",
        json!({ "inputStatistics": statistics }),
    );
    input
}

fn output(account: &Account, told: &Told) -> Value {
    let mut integrity = integrity(&told.artifact);
    if !told.sources.is_empty() {
        let sources = told.sources.iter().map(|source| &source.input);
        set(
            &mut integrity,
            "made_from",
            json!(sources.collect::<Vec<_>>()),
        );
    }
    let mut output = dataset(&account.pack.subject, &told.artifact, integrity);
    let statistics = json!({ "size": told.artifact.bytes, "fileCount": 1 });
    let statistics = standard("1-0-2", "OutputStatisticsOutputDatasetFacet", statistics);
    set(
        &mut output,
        "outputFacets",
        json!({ "outputStatistics": statistics }),
    );
    output
}

fn dataset(subject: &Subject, artifact: &ArtifactEntry, integrity: Value) -> Value {
    json!({
        "namespace": format!("runpack://{}", name::owner(subject)),
        "name": format!("{}/{}", name::work(subject), artifact.name),
        "facets": {
            "version": version(&artifact.commitment.to_string()),
            "storage": standard("1-0-1", "StorageDatasetFacet", json!({
                "storageLayer": "runpack",
                "fileFormat": artifact.media_type,
            })),
            "symlinks": standard("1-0-1", "SymlinksDatasetFacet", json!({
                "identifiers": [{
                    "namespace": BY_PACK,
                    "name": format!("{}/{}", artifact.pack_id, artifact.name),
                    "type": "PACK",
                }],
            })),
            "runpack_integrity": ours("RunpackIntegrityDatasetFacet", integrity),
        },
    })
}

fn version(commitment: &str) -> Value {
    let version = json!({ "datasetVersion": commitment });
    standard("1-0-1", "DatasetVersionDatasetFacet", version)
}

fn integrity(artifact: &ArtifactEntry) -> Value {
    let scheme = if artifact.bytes > CHUNK_BYTES {
        "runpack/chunks/v1"
    } else {
        "sha256"
    };
    let mut integrity = json!({
        "pack_id": artifact.pack_id,
        "name": artifact.name,
        "kind": artifact.kind,
        "bytes": artifact.bytes,
        "commitment": artifact.commitment,
        "scheme": scheme,
        "verified": false,
    });
    if let Some(claimed) = &artifact.claimed_sha256 {
        set(&mut integrity, "claimed_sha256", json!(claimed));
    }
    if let Some(step) = &artifact.step {
        set(&mut integrity, "step", json!(step));
    }
    integrity
}

/// A facet of OpenLineage's own.
fn standard(version: &str, facet: &str, members: Value) -> Value {
    with_schema(
        &format!("{FACETS}/{version}/{facet}.json#/$defs/{facet}"),
        members,
    )
}

/// A facet of ours.
fn ours(facet: &str, members: Value) -> Value {
    with_schema(&format!("{INTEGRITY}/{facet}"), members)
}

fn with_schema(schema: &str, mut members: Value) -> Value {
    set(&mut members, "_producer", json!(PRODUCER));
    set(&mut members, "_schemaURL", json!(schema));
    members
}
