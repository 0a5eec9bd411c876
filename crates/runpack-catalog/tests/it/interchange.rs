//! Packs as OpenLineage, PROV-JSON and RO-Crate, held against the tools of those who read them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runpack_catalog::{Catalog, Direction, Interchange, Reach};
use runpack_core::commitment::{CHUNK_BYTES, Content};
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Manifest, Producer, Subject};
use runpack_core::name::ArtifactName;
use runpack_core::store::MemoryStore;
use runpack_testing::{block_on, validators};
use serde_json::Value;

use crate::support::{Both, artifact, commit, input, kind, manifest, reader, run, store_name};

mod arbitrary;
mod pipelines;

const NOW: &str = "2026-11-20T12:00:00Z";

fn schema() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../Docs/spec/openlineage-integrity-v1.schema.json")
}

async fn filled(catalog: &Catalog, packs: &[Arc<Manifest>]) {
    let store = MemoryStore::new();
    for pack in packs {
        commit(&store, pack).await;
    }
    let filled = catalog
        .rebuild(&store_name(), &reader(&store), &Limits::default())
        .await;
    assert_eq!(filled.unwrap().odd.faults, []);
}

async fn told(catalog: &Catalog, pack: &Manifest, ways: &[Direction]) -> Interchange {
    let told = catalog.interchange(pack.pack_id(), ways, Reach::default());
    told.await.unwrap().unwrap()
}

fn events(told: &Interchange) -> String {
    let events: Vec<String> = told
        .to_openlineage()
        .map(|event| event.to_string())
        .collect();
    events.join("\n") + "\n"
}

/// A directory with a crate: its description, and files where the pack would have them.
fn crate_of(told: &Interchange, pack: &Manifest) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let metadata = told.to_ro_crate().unwrap().to_string();
    std::fs::write(directory.path().join("ro-crate-metadata.json"), metadata).unwrap();
    let names = pack
        .artifacts()
        .iter()
        .map(|artifact| artifact.name().as_str());
    for name in names.chain(["manifest.json"]) {
        let path = directory.path().join("pack").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    directory
}

/// In every format, for those who read it.
fn hold(told: &Interchange, one: Option<&Manifest>) {
    validators::openlineage(&events(told), &schema()).unwrap();
    validators::prov_json(&told.to_prov_json().to_string()).unwrap();
    if let Some(pack) = one {
        validators::ro_crate(crate_of(told, pack).path()).unwrap();
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn large(name: &str) -> Artifact {
    let chunks = [Digest::of(b"one"), Digest::of(b"two")];
    let content = Content::Chunks(chunks.into());
    let (kind, media_type) = (
        "model".parse().unwrap(),
        "application/octet-stream".parse().unwrap(),
    );
    Artifact::new(
        name.parse().unwrap(),
        kind,
        media_type,
        CHUNK_BYTES + 1,
        content,
    )
    .unwrap()
    .with_claimed_sha256(Digest::of(b"whole"))
}

/// Raw data, a model that is made from it by a run that says a lot, and a report by a run that failed.
fn chain() -> [Arc<Manifest>; 3] {
    let raw = manifest(
        run("acme", "raw"),
        "2026-11-18T12:00:00Z",
        &[],
        vec![artifact("raw.csv", b"raw")],
    );
    let model = large("model.bin").with_inputs(vec![
        input(raw.pack_id(), "raw.csv", b"raw"),
        input(PackId::of(b"a pack that nobody has"), "prior.csv", b"prior"),
    ]);
    let labels = [
        ("agent", "Ada \"L\""),
        ("agent_version", "7."),
        ("license", "https://spdx.org/licenses/Apache-2.0"),
        ("started_at", "2026-11-19T11:00:00Z"),
    ];
    let spec = kind("spec.json", b"spec", "spec", "application/json");
    let model = manifest(
        run("acme", "train"),
        "2026-11-19T12:00:00Z",
        &labels,
        vec![model, spec],
    );
    let report = artifact("report.html", b"report").with_inputs(vec![
        input_of(&model, "model.bin"),
        input(raw.pack_id(), "raw.csv", b"raw"),
    ]);
    let labels = [("outcome", "failed"), ("error", "out of memory\u{202e}")];
    let report = manifest(run("acme", "report"), NOW, &labels, vec![report]);
    [raw, model, report]
}

fn input_of(pack: &Manifest, name: &str) -> runpack_core::manifest::Input {
    runpack_core::manifest::Input {
        commitment: pack.artifact(name).unwrap().commitment(),
        name: name.parse().unwrap(),
        pack: pack.pack_id(),
    }
}

#[test]
fn packs_are_told_in_each_format_as_those_who_read_it_expect() {
    let both = Both::start();
    block_on(async {
        let packs = chain();
        let [_, model, report] = &packs;
        let mut written = Vec::new();
        for catalog in both.open("chain").await {
            filled(&catalog, &packs).await;
            let up = told(&catalog, report, &[Direction::Up]).await;
            let unknown = up.findings();
            assert!(up.is_sound() && unknown.len() == 1, "{unknown:?}");
            let alone = told(&catalog, model, &[]).await;
            written.push((events(&up), up.to_prov_json(), alone.to_ro_crate()));
            hold(&up, None);
            hold(&alone, Some(model));
            hold(&told(&catalog, report, &[]).await, Some(report));
            let down = told(&catalog, &packs[0], &[Direction::Down]).await;
            // The same packs, whichever way they are come by.
            assert_eq!(events(&down), events(&up));
            assert_eq!(up.to_ro_crate(), None, "a crate is about one pack");
        }
        assert_eq!(written[0], written[1], "in either database");
        let lines = written[0].0.lines();
        let lines: Vec<String> = lines
            .map(|line| pretty(&serde_json::from_str(line).unwrap()))
            .collect();
        insta::assert_snapshot!("openlineage", lines.join("\n"));
        insta::assert_snapshot!("prov_json", pretty(&written[0].1));
        insta::assert_snapshot!("ro_crate", pretty(written[0].2.as_ref().unwrap()));
    });
}

#[test]
fn forged_sources_are_told_and_are_in_no_export() {
    let both = Both::start();
    block_on(async {
        let raw = manifest(
            run("acme", "raw"),
            NOW,
            &[],
            vec![artifact("raw.csv", b"raw")],
        );
        let forger = artifact("forged.csv", b"forged").with_inputs(vec![
            input(raw.pack_id(), "raw.csv", b"other"),
            input(raw.pack_id(), "none.csv", b"raw"),
            input(
                PackId::of(b"a pack that nobody has"),
                "claimed.csv",
                b"claimed",
            ),
        ]);
        let forger = manifest(run("acme", "forger"), NOW, &[], vec![forger]);
        for catalog in both.open("forged").await {
            filled(&catalog, &[raw.clone(), forger.clone()]).await;
            for ways in [&[][..], &[Direction::Up]] {
                let told = told(&catalog, &forger, ways).await;
                assert!(!told.is_sound());
                let findings = told.findings();
                assert_eq!(findings.len(), 3, "{findings:?}");
                assert!(
                    findings[..2]
                        .iter()
                        .all(|line| line.contains("is not as it is named"))
                );
                // Of what it says of a pack that is known there is not a word, and that pack is not joined to it.
                let raw = raw.pack_id().digest().to_string();
                let texts = [
                    events(&told),
                    told.to_prov_json().to_string(),
                    told.to_ro_crate().unwrap().to_string(),
                ];
                for text in &texts {
                    for forged in ["none.csv", &raw, &Digest::of(b"other").to_string()] {
                        assert!(!text.contains(forged), "{forged}: {text}");
                    }
                }
                assert!(texts[0].contains("\"left_out\":2"), "{}", texts[0]);
                hold(&told, Some(&forger));
            }
        }
    });
}

#[test]
fn what_goes_in_a_circle_is_told_and_is_in_no_export() {
    let both = Both::start();
    block_on(async {
        let stranger = PackId::of(b"a pack that nobody has");
        let packed = artifact("packed.gz", b"packed").with_inputs(vec![input(
            stranger,
            "plain.csv",
            b"plain",
        )]);
        let packed = manifest(run("acme", "pack"), NOW, &[], vec![packed]);
        let plain = artifact("plain.csv", b"plain").with_inputs(vec![input(
            packed.pack_id(),
            "packed.gz",
            b"packed",
        )]);
        let plain = manifest(run("acme", "unpack"), NOW, &[], vec![plain]);
        for catalog in both.open("circle").await {
            filled(&catalog, &[packed.clone(), plain.clone()]).await;
            for ways in [&[][..], &[Direction::Up], &[Direction::Down]] {
                let told = told(&catalog, &plain, ways).await;
                assert!(!told.is_sound());
                let circle = "artifacts that come from each other";
                assert!(
                    told.findings()[0].starts_with(circle),
                    "{:?}",
                    told.findings()
                );
                let packed = format!("artifact:{}/packed.gz", packed.pack_id().digest());
                let prov = told.to_prov_json();
                for kind in ["used", "wasDerivedFrom"] {
                    let sources = prov[kind]
                        .as_object()
                        .into_iter()
                        .flat_map(|all| all.values());
                    for source in sources {
                        assert_ne!(source["prov:usedEntity"], packed, "{prov}");
                        assert_ne!(source["prov:entity"], packed, "{prov}");
                    }
                }
                assert!(!events(&told).contains("\"source\":\"named\""));
                hold(&told, ways.is_empty().then_some(&plain));
            }
        }
    });
}

/// The value of a member at a path of an event.
fn at<'a>(event: &'a Value, path: &str) -> &'a Value {
    event
        .pointer(path)
        .unwrap_or_else(|| panic!("no {path} in {event}"))
}

#[test]
fn an_execution_is_told_and_what_a_run_says_of_its_start_is_believed_within_reason() {
    let execution = Subject::Execution {
        execution_id: "01JD3M7Z9X8QWERTYASDFGHJKM".parse().unwrap(),
    };
    let log = kind("logs/stdout.log", b"", "log", "text/plain");
    for (label, starts) in [
        ("2026-11-20T11:59:59Z", "2026-11-20T11:59:59Z"),
        ("2026-11-20T12:00:01Z", NOW),
        ("yesterday", NOW),
    ] {
        let pack = manifest(
            execution.clone(),
            NOW,
            &[("started_at", label)],
            vec![log.clone()],
        );
        let told = Interchange::of(&pack);
        if starts != NOW {
            hold(&told, Some(&pack));
        }
        let events: Vec<Value> = told.to_openlineage().collect();
        assert_eq!(at(&events[0], "/eventTime"), starts);
        assert_eq!(at(&events[0], "/job/name"), "01JD3M7Z9X8QWERTYASDFGHJKM");
        assert_eq!(at(&events[1], "/eventTime"), NOW);
        let early = told
            .clone()
            .with_start("2026-11-01T00:00:00Z".parse().unwrap())
            .unwrap();
        assert_eq!(
            at(&early.to_openlineage().next().unwrap(), "/eventTime"),
            "2026-11-01T00:00:00Z"
        );
        let late = told.with_start("2026-11-20T12:00:01Z".parse().unwrap());
        assert!(
            late.unwrap_err()
                .to_string()
                .contains("started_at=`2026-11-20T12:00:01Z`")
        );
    }
}

/// Whatever a pack says stays text: in no format does it become a name, a reference or a member.
#[test]
fn b29_hostile_text_stays_text() {
    let hostile = "\"}]},\u{202e}prov:type</script> _:x {\"@id\":\"./\"} \\ \u{2028}";
    let original = ["<a href=.+@,~()", "..\"x#y?z %2F"].map(str::as_bytes);
    let name = ArtifactName::from_original(original).unwrap();
    let made = Artifact::new(
        name,
        "dataset".parse().unwrap(),
        "text/csv".parse().unwrap(),
        3,
        Content::Whole(Digest::of(b"abc")),
    )
    .unwrap()
    .with_title(hostile.parse().unwrap());
    let labels = [
        ("agent", hostile),
        ("agent_version", "-.:/"),
        ("license", "https://x/\" ./"),
        ("outcome", "error"),
        ("error", hostile),
        ("a./-", hostile),
        ("prov/type", "prov:Bundle"),
        ("pipeline", hostile),
    ];
    let producer = Producer {
        name: "a.".parse().unwrap(),
        version: hostile.parse().unwrap(),
    };
    let labels = labels
        .iter()
        .map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()));
    let pack = Manifest::new(
        run("acme.", "r."),
        NOW.parse().unwrap(),
        producer,
        vec![made],
        labels.collect(),
        &Limits::default(),
    )
    .unwrap();
    let told = Interchange::of(&pack);
    hold(&told, Some(&pack));
    let prov = told.to_prov_json();
    for id in ["entity", "agent", "activity"]
        .iter()
        .flat_map(|kind| prov[kind].as_object().unwrap().keys())
    {
        let plain = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:/%".contains(&byte));
        assert!(plain, "{id}");
    }
    let crate_of = told.to_ro_crate().unwrap();
    for entity in crate_of["@graph"].as_array().unwrap() {
        let id = entity["@id"].as_str().unwrap();
        let plain = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:/%#".contains(&byte));
        assert!(plain, "{id}");
    }
    assert_eq!(at(&crate_of, "/@graph/1/license/@id"), "#license");
}

/// Otherwise the tests above could not fail.
#[test]
fn what_is_wrong_with_an_export_is_seen() {
    let [_, model, _] = chain();
    let told = Interchange::of(&model);
    let events = events(&told);
    let prov = told.to_prov_json().to_string();
    let directory = crate_of(&told, &model);
    validators::openlineage(&events, &schema()).unwrap();
    for (from, to) in [
        ("\"runId\":\"", "\"runId\":\"x"),
        ("\"jobType\":\"RUN\"", "\"jobKind\":\"RUN\""),
        ("\"verified\":false", "\"verified\":true"),
        ("StorageDatasetFacet.json", "StoreDatasetFacet.json"),
        ("\"fileCount\":1", "\"fileCount\":\"1\""),
        ("COMPLETE", "COMPLETED"),
    ] {
        let wrong = events.replace(from, to);
        assert!(
            wrong != events && validators::openlineage(&wrong, &schema()).is_err(),
            "{to}"
        );
    }
    for (from, to) in [
        ("\"prov:activity\":\"run:", "\"prov:activity\":\"other:"),
        (
            "\"prov:usedEntity\":\"artifact:",
            "\"prov:usedEntity\":\"artifact:x",
        ),
        ("T12:00:00Z", "T25:00:00Z"),
    ] {
        let wrong = prov.replace(from, to);
        assert!(
            wrong != prov && validators::prov_json(&wrong).is_err(),
            "{to}"
        );
    }
    let metadata = directory.path().join("ro-crate-metadata.json");
    let text = std::fs::read_to_string(&metadata).unwrap();
    for (from, to) in [
        ("\"license\"", "\"licence\""),
        ("\"instrument\"", "\"tool\""),
        ("pack/model.bin", "pack/other.bin"),
    ] {
        std::fs::write(&metadata, text.replace(from, to)).unwrap();
        assert!(validators::ro_crate(directory.path()).is_err(), "{to}");
    }
}

/// What there is no room for is left out with its whole pack, and that is told; the pack that was asked for stays.
#[test]
fn packs_without_room_are_left_out_and_told() {
    let both = Both::start();
    block_on(async {
        let packs = chain();
        for catalog in both.open("room").await {
            filled(&catalog, &packs).await;
            for (nodes_max, told, is_bounded) in [(4, 3, false), (2, 2, true), (1, 1, true)] {
                let mut reach = Reach::default();
                reach.nodes_max = nodes_max;
                let up = catalog.interchange(packs[2].pack_id(), &[Direction::Up], reach);
                let up = up.await.unwrap().unwrap();
                let bounded = up
                    .findings()
                    .iter()
                    .any(|line| line.contains("there is more"));
                assert_eq!(
                    (up.to_openlineage().count() / 2, bounded),
                    (told, is_bounded),
                    "{nodes_max}"
                );
                assert!(up.is_sound());
            }
            let stranger = PackId::of(b"a pack that nobody has");
            let nothing = catalog.interchange(stranger, &[], Reach::default()).await;
            assert!(nothing.unwrap().is_none());
        }
    });
}
