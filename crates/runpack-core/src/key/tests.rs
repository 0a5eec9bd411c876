//! Tests of keys: every layout against every other, and what is no key at all.

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

fn id() -> impl Strategy<Value = String> {
    // Ids that spell the words of other layouts are the ones that could collide.
    prop_oneof![
        "[A-Za-z0-9][A-Za-z0-9._-]{0,12}",
        prop::sample::select(vec![
            "tenant",
            "v1",
            "executions",
            "registry",
            "runs",
            "steps",
            "manifest.json",
            "namespace",
            "latest.json",
            "2026",
            "12",
            "agents",
            "pipelines",
            "plan.json",
            "inputs",
            "run",
        ])
        .prop_map(str::to_owned),
    ]
}

fn parsed<T: std::str::FromStr + fmt::Debug>(
    text: impl Strategy<Value = String>,
) -> impl Strategy<Value = T> {
    text.prop_filter_map("not of this kind", |text| text.parse().ok())
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn name() -> impl Strategy<Value = ArtifactName> {
    parsed(prop::collection::vec(id(), 1..4).prop_map(|parts| parts.join("/")))
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..253_402_300_800u64).prop_map(|seconds| Timestamp::from_unix_seconds(seconds).unwrap())
}

fn ulid() -> impl Strategy<Value = ExecutionId> {
    parsed("[0-7][0-9A-HJKMNP-TV-Z]{25}")
}

fn pipeline_object() -> impl Strategy<Value = PipelineObject> {
    let side = prop::sample::select(vec!["inputs", "outputs"]);
    prop_oneof![
        Just(PipelineObject::Manifest),
        prop::sample::select(vec![
            "plan.json",
            "metadata.json",
            "events/audit_trail.jsonl"
        ])
        .prop_map(|name| PipelineObject::Artifact {
            name: name.parse().unwrap()
        }),
        parsed(id()).prop_map(|step_id| PipelineObject::StepManifest { step_id }),
        (parsed(id()), side, name()).prop_map(|(step_id, side, name)| {
            let name = format!("{side}/{name}").parse().unwrap();
            PipelineObject::StepArtifact { step_id, name }
        }),
    ]
}

fn live_object() -> impl Strategy<Value = LiveObject> {
    prop_oneof![
        Just(LiveObject::Opening),
        digest().prop_map(|name| LiveObject::Upload { name }),
        (prop::sample::select(Log::ALL.to_vec()), any::<u64>())
            .prop_map(|(log, offset)| LiveObject::LogPart { log, offset }),
    ]
}

fn record_object() -> impl Strategy<Value = RecordObject> {
    prop_oneof![
        (time(), parsed(id())).prop_map(|(time, run_id)| RecordObject::Payload {
            day: Day::of(time),
            run_id
        }),
        parsed(id()).prop_map(|run_id| RecordObject::Claim { run_id }),
        Just(RecordObject::Latest),
        time().prop_map(|time| RecordObject::Daily { day: Day::of(time) }),
    ]
}

fn execution_name() -> impl Strategy<Value = ArtifactName> {
    prop_oneof![
        Just("metadata.json".to_owned()),
        prop::sample::select(Log::ALL.to_vec()).prop_map(|log| format!("logs/{}", log.file_name())),
        name().prop_map(|name| format!("artifacts/{name}")),
    ]
    .prop_map(|name| name.parse().unwrap())
}

fn location() -> impl Strategy<Value = Location> {
    let run = (
        parsed(id()),
        parsed(id()),
        parsed(id()),
        parsed(id()),
        digest(),
        prop::option::of((digest(), name())),
    )
        .prop_map(
            |(tenant, namespace, scenario, run_id, spec, artifact)| Location::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash: SpecHash::new(spec),
                artifact,
            },
        );
    prop_oneof![
        run,
        (time(), parsed(id()), digest()).prop_map(|(time, run_id, pack)| Location::Bundle {
            month: Month::of(time),
            run_id,
            pack_id: PackId::new(pack)
        }),
        (parsed(id()), parsed(id()), pipeline_object()).prop_map(|(tenant, run_id, object)| {
            Location::Pipeline {
                tenant,
                run_id,
                object,
            }
        }),
        (parsed(id()), digest())
            .prop_map(|(tenant, definition)| Location::PipelineDefinition { tenant, definition }),
        (parsed(id()), parsed(id()))
            .prop_map(|(agent, version)| Location::Agent { agent, version }),
        (parsed(id()), parsed(id()), parsed(id()), record_object()).prop_map(
            |(organization, project, service, object)| Location::Record {
                organization,
                project,
                service,
                object
            }
        ),
        (ulid(), prop::option::of(execution_name())).prop_map(|(execution_id, artifact)| {
            Location::Execution {
                execution_id,
                artifact,
            }
        }),
        digest().prop_map(|pack| Location::Reference {
            pack_id: PackId::new(pack)
        }),
        parsed(id()).prop_map(|probe| Location::Probe { probe }),
        (digest(), digest()).prop_map(|(pack, receipt)| Location::Receipt {
            pack_id: PackId::new(pack),
            receipt
        }),
        any::<u32>().prop_map(|sequence| Location::Hold { sequence }),
        (
            digest(),
            digest(),
            prop_oneof![
                Just(DeletionObject::Intent),
                Just(DeletionObject::Manifest),
                Just(DeletionObject::Receipt),
                any::<u32>().prop_map(|page| DeletionObject::Objects { page }),
            ]
        )
            .prop_map(|(pack, removal, object)| Location::Deletion {
                pack_id: PackId::new(pack),
                removal,
                object
            }),
        (ulid(), live_object()).prop_map(|(execution_id, object)| Location::Live {
            execution_id,
            object
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn layouts_are_disjoint(one in location(), other in location()) {
        let key = one.key().unwrap();
        prop_assert_eq!(Location::parse(key.as_str()), Some(one.clone()));
        prop_assert_eq!(one == other, key == other.key().unwrap());
    }

    #[test]
    fn no_key_is_a_directory_of_another(one in location(), other in location()) {
        // On a file system a key that is another's directory would block it. Within one pack
        // the manifest's collision rule sees to it, so only different packs are held apart here.
        let pack = |location: &Location| match location {
            Location::Run { .. } | Location::Pipeline { .. } | Location::Execution { .. } => None,
            other => Some(other.key().unwrap().to_string()),
        };
        if let (Some(one), Some(other)) = (pack(&one), pack(&other)) {
            let directory = format!("{one}/");
            prop_assert!(!other.starts_with(&directory), "{} {}", one, other);
        }
    }

    #[test]
    fn p08_every_key_is_plain(location in location()) {
        let key = location.key().unwrap();
        prop_assert!(key.as_str().len() <= KEY_BYTES_MAX);
        for part in key.as_str().split('/') {
            prop_assert!(!part.is_empty() && part != "." && part != "..");
            prop_assert!(part.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        }
    }

    #[test]
    fn s17_a_parsed_key_is_the_key_it_writes(text in "(tenant|v1|executions|[a-z0-9]{1,4})(/[a-z0-9=%. -]{0,9}){0,9}") {
        if let Some(location) = Location::parse(&text) {
            prop_assert_eq!(location.to_string(), text);
        }
    }
}

#[test]
fn the_keys_of_the_specification() {
    let hex = "ab".repeat(32);
    for key in [
        format!("tenant/acme/namespace/prod/scenario/loan/run/r1/{hex}/manifest.json"),
        format!("tenant/acme/namespace/prod/scenario/loan/run/r1/{hex}/{hex}/a/b c.txt"),
        format!("2026/11/r1/{hex}.tar.gz"),
        "acme/runs/r1/plan.json".into(),
        "acme/runs/r1/metadata.json".into(),
        "acme/runs/r1/manifest.json".into(),
        "acme/runs/r1/events/audit_trail.jsonl".into(),
        "acme/runs/r1/steps/s1/manifest.json".into(),
        "acme/runs/r1/steps/s1/inputs/x".into(),
        "acme/runs/r1/steps/s1/outputs/y/z".into(),
        format!("acme/pipelines/{hex}/definition.yaml"),
        "registry/agents/a1/v2/manifest.json".into(),
        "v1/org=o/project=p/service=s/date=2026-11-20/run=r/payload.json".into(),
        "v1/org=o/project=p/service=s/runs/r.json".into(),
        "v1/org=o/project=p/service=s/latest.json".into(),
        "v1/org=o/project=p/service=s/manifests/date=2026-11-20.jsonl".into(),
        "executions/01JD3M7Z9X8QWERTYASDFGHJKM/manifest.json".into(),
        "executions/01JD3M7Z9X8QWERTYASDFGHJKM/metadata.json".into(),
        "executions/01JD3M7Z9X8QWERTYASDFGHJKM/logs/bench.log".into(),
        "executions/01JD3M7Z9X8QWERTYASDFGHJKM/artifacts/a.bin".into(),
        format!("_runpack/refs/{hex}"),
    ] {
        let location = Location::parse(&key).unwrap_or_else(|| panic!("{key}"));
        assert_eq!(location.key().unwrap().as_str(), key);
    }
}

#[test]
fn s17_what_no_layout_derives_is_no_key() {
    let hex = "ab".repeat(32);
    for bad in [
        String::new(),
        "/".into(),
        "a".into(),
        "../etc/passwd".into(),
        "acme/runs/r1/../../x".into(),
        "acme//runs/r1/plan.json".into(),
        "acme/runs/r1/plan.json/".into(),
        "acme/runs/r1/steps/s1/inputs".into(),
        "acme/runs/r1/steps/s1/other/x".into(),
        "acme/runs/r1/steps/s1/inputs/../x".into(),
        "acme/runs/r1/steps/s1/inputs/%c3".into(),
        "v1/runs/r1/plan.json".into(),
        "v1/org=o/project=p/service=s/date=2026-02-30/run=r/payload.json".into(),
        "v1/org=o/project=p/service=s/date=2026-11-2/run=r/payload.json".into(),
        "executions/x/manifest.json".into(),
        "executions/01JD3M7Z9X8QWERTYASDFGHJKM/logs/other.log".into(),
        format!("2026/13/r1/{hex}.tar.gz"),
        format!("2026/1/r1/{hex}.tar.gz"),
        format!("1969/01/r1/{hex}.tar.gz"),
        format!("tenant/a\0b/namespace/n/scenario/s/run/r/{hex}/manifest.json"),
        format!("tenant/a/namespace/n/scenario/s/run/r/{hex}/{hex}/manifest.json/x\n"),
        format!(
            "tenant/a/namespace/n/scenario/s/run/r/{}/manifest.json",
            hex.to_uppercase()
        ),
        format!("_runpack/refs/{hex}/x"),
        "_runpack/tmp/x".into(),
    ] {
        assert_eq!(Location::parse(&bad), None, "{bad:?}");
    }
}

#[test]
fn b12_a_key_over_1024_bytes_is_refused_when_derived() {
    let long = "x".repeat(128);
    let subject = Subject::Run {
        tenant: long.parse().unwrap(),
        namespace: long.parse().unwrap(),
        scenario: long.parse().unwrap(),
        run_id: long.parse().unwrap(),
        spec_hash: SpecHash::new(Digest::of(b"")),
    };
    let name: ArtifactName = [&*"n".repeat(200), &*"n".repeat(200)]
        .join("/")
        .parse()
        .unwrap();
    let location = Location::artifact(&subject, &name, Digest::of(b""));
    assert!(matches!(location.key(), Err(KeyTooLong { bytes }) if bytes > KEY_BYTES_MAX));
    assert_eq!(Location::parse(&location.to_string()), None);
}
