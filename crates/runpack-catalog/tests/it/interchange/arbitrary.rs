//! Whatever a manifest says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use runpack_catalog::Interchange;
use runpack_core::commitment::{CHUNK_BYTES, Content, chunk_count};
use runpack_core::digest::Digest;
use runpack_core::id::{PackId, SpecHash};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Input, Manifest, Producer, Subject};
use runpack_core::name::ArtifactName;
use runpack_testing::validators;
use serde_json::Value;

fn id() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,12}"
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,20}",
        "\\PC{1,20}",
        Just("\u{202e}\"\\\u{1f600}".to_owned())
    ]
    .prop_filter("no controls", |text| !text.chars().any(char::is_control))
}

fn name() -> impl Strategy<Value = ArtifactName> {
    prop_oneof!["[a-z]{1,8}", "\\PC{1,12}", "[a-z./ %-]{1,12}"].prop_filter_map(
        "a name",
        |original| {
            ArtifactName::from_original(original.as_bytes().split(|byte| *byte == b'/')).ok()
        },
    )
}

fn input() -> impl Strategy<Value = Input> {
    (any::<[u8; 32]>(), name(), any::<[u8; 32]>()).prop_map(|(pack, name, commitment)| Input {
        commitment: Digest::from_bytes(commitment),
        name,
        pack: PackId::new(Digest::from_bytes(pack)),
    })
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let bytes = prop_oneof![0..CHUNK_BYTES, CHUNK_BYTES..3 * CHUNK_BYTES];
    let inputs = proptest::collection::vec(input(), 0..3);
    let kind = prop_oneof![Just("spec"), Just("log"), Just("x")];
    (
        name(),
        kind,
        bytes,
        any::<u8>(),
        proptest::option::of(text()),
        inputs,
    )
        .prop_map(|(name, kind, bytes, seed, title, inputs)| {
            let digest = Digest::from_bytes([seed; 32]);
            let chunks = usize::try_from(chunk_count(bytes)).unwrap();
            let content = Content::from_chunks(vec![digest; chunks]);
            let (kind, media_type) = (kind.parse().unwrap(), "a/b".parse().unwrap());
            let artifact = Artifact::new(name, kind, media_type, bytes, content).unwrap();
            let artifact = artifact.with_inputs(inputs).with_claimed_sha256(digest);
            match title {
                Some(title) => artifact.with_title(title.parse().unwrap()),
                None => artifact,
            }
        })
}

fn subject() -> impl Strategy<Value = Subject> {
    let run =
        (id(), id(), id(), id()).prop_map(|(tenant, namespace, scenario, run_id)| Subject::Run {
            tenant: tenant.parse().unwrap(),
            namespace: namespace.parse().unwrap(),
            scenario: scenario.parse().unwrap(),
            run_id: run_id.parse().unwrap(),
            spec_hash: SpecHash::new(Digest::from_bytes([1; 32])),
        });
    let step =
        (id(), id(), id()).prop_filter_map("a pipeline's tenant", |(tenant, run_id, step_id)| {
            Some(Subject::Step {
                tenant: tenant.parse().ok()?,
                run_id: run_id.parse().unwrap(),
                step_id: step_id.parse().unwrap(),
            })
        });
    prop_oneof![run, step]
}

/// Few are refused: names that collide, a second specification.
fn manifest() -> impl Strategy<Value = Manifest> {
    let key = prop_oneof![
        Just("outcome".to_owned()),
        Just("agent".to_owned()),
        Just("license".to_owned()),
        "[A-Za-z0-9][A-Za-z0-9._/-]{0,6}"
    ];
    let value = prop_oneof![
        text(),
        Just("failed".to_owned()),
        Just("https://w3id.org/ro/wfrun/process/0.5".to_owned()),
        Just("cancelled".to_owned())
    ];
    let labels = proptest::collection::btree_map(key, value, 0..5);
    let artifacts = proptest::collection::vec(artifact(), 1..6);
    (
        subject(),
        0..253_402_300_800u64,
        (id(), text()),
        artifacts,
        labels,
    )
        .prop_filter_map(
            "a manifest",
            |(subject, seconds, (program, version), artifacts, labels)| {
                let artifacts = match &subject {
                    Subject::Step { .. } => artifacts.iter().map(of_step).collect(),
                    _ => artifacts,
                };
                let created_at = runpack_core::time::Timestamp::from_unix_seconds(seconds).unwrap();
                let producer = Producer {
                    name: program.parse().unwrap(),
                    version: version.parse().unwrap(),
                };
                let labels: BTreeMap<_, _> = labels
                    .iter()
                    .map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()))
                    .collect();
                let limits = Limits::default();
                Manifest::new(subject, created_at, producer, artifacts, labels, &limits).ok()
            },
        )
}

/// The same where a step may have it.
fn of_step(artifact: &Artifact) -> Artifact {
    let folder = if artifact.bytes().is_multiple_of(2) {
        "inputs"
    } else {
        "outputs"
    };
    let name = format!("{folder}/{}", artifact.name()).parse().unwrap();
    let (content, bytes) = (artifact.content().clone(), artifact.bytes());
    let kind = "x".parse().unwrap();
    let moved = Artifact::new(name, kind, artifact.media_type().clone(), bytes, content);
    moved.unwrap().with_inputs(artifact.inputs().to_vec())
}

fn exports(manifest: &Manifest) -> [String; 3] {
    let told = Interchange::of(manifest);
    [
        super::events(&told),
        told.to_prov_json().to_string(),
        told.to_ro_crate().unwrap().to_string(),
    ]
}

/// Every `@id` in a value.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("@id").and_then(Value::as_str));
            members
                .values()
                .for_each(|member| references(member, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn every_export_is_json_and_the_same_again(manifest in manifest()) {
        let [events, prov, described] = exports(&manifest);
        let again = Manifest::parse(&manifest.to_bytes(), &Limits::default()).unwrap();
        prop_assert_eq!(exports(&again), [events.clone(), prov.clone(), described.clone()]);
        prop_assert_eq!(events.lines().count(), 2);
        for text in events.lines().chain([prov.as_str()]) {
            serde_json::from_str::<Value>(text).unwrap();
        }
        let described: Value = serde_json::from_str(&described).unwrap();
        let mut all = BTreeSet::new();
        references(&described, &mut all);
        let graph = described["@graph"].as_array().unwrap();
        let entities: Vec<&str> = graph.iter().map(|one| one["@id"].as_str().unwrap()).collect();
        let once: BTreeSet<&str> = entities.iter().copied().collect();
        prop_assert_eq!(once.len(), entities.len(), "an entity twice");
        // What is referred to is there, and the specification, which is not in any crate.
        all.remove("https://w3id.org/ro/crate/1.3");
        prop_assert_eq!(all, once);
    }
}

#[test]
fn those_who_read_exports_take_what_any_manifest_says() {
    let mut runner = TestRunner::deterministic();
    let (mut events, mut documents) = (String::new(), String::new());
    for _ in 0..100 {
        let manifest = manifest().new_tree(&mut runner).unwrap().current();
        let [event, document, _] = exports(&manifest);
        events.push_str(&event);
        documents.push_str(&document);
        documents.push('\n');
    }
    validators::openlineage(&events, &super::schema()).unwrap();
    validators::prov_json(&documents).unwrap();
}
