//! Tests of the manifest: the canonical form against another implementation, the order of the checks.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::commitment::CHUNK_BYTES;
use crate::finding::{Code, Finding};

fn hex(seed: u8) -> String {
    Digest::from_bytes([seed; 32]).to_string()
}

fn example() -> Value {
    json!({
        "format": "runpack/v1",
        "subject": {"kind": "run", "tenant": "acme", "namespace": "prod", "scenario": "loan-approval",
                    "run_id": "r1", "spec_hash": format!("sha256:{}", hex(1))},
        "created_at": "2026-11-20T12:00:00Z",
        "producer": {"name": "runpack", "version": "0.1.0"},
        "artifacts": [
            {"name": "a.json", "kind": "spec", "media_type": "application/json", "bytes": 3, "sha256": hex(1)},
            {"name": "b", "title": "Ü\u{202e}", "kind": "trace", "media_type": "application/octet-stream",
             "bytes": CHUNK_BYTES + 1, "chunks": [hex(2), hex(3)], "claimed_sha256": hex(4), "step": "s",
             "inputs": [{"pack": format!("sha256:{}", hex(5)), "name": "x", "commitment": hex(6)}]},
        ],
        "labels": {"commit_sha": "4f2a", "a/b": "text \"quoted\" \\ ü"},
    })
}

fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap()
}

fn code(bytes: &[u8]) -> Option<Code> {
    let parsed = Manifest::parse(bytes, &Limits::default());
    parsed.err().map(|error| Finding::from(&error).code)
}

/// The example with `change` made to it, in canonical form.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = example();
    change(&mut value);
    canonical(&value)
}

#[test]
fn the_example_parses_and_writes_itself() {
    let bytes = canonical(&example());
    let manifest = Manifest::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(manifest.to_bytes(), bytes);
    assert_eq!(manifest.pack_id(), PackId::of(&bytes));
    assert_eq!(manifest.artifact("b").unwrap().title(), Some("Ü\u{202e}"));
    assert_eq!(manifest.artifact("c"), None);
    assert_eq!(manifest.artifact_bytes(), CHUNK_BYTES + 4);
    assert_eq!(manifest.spec().unwrap().name().as_str(), "a.json");
    let again = Manifest::new(
        manifest.subject().clone(),
        manifest.created_at(),
        manifest.producer().clone(),
        manifest.artifacts().iter().rev().cloned().collect(),
        manifest.labels().clone(),
        &Limits::default(),
    );
    assert_eq!(again.unwrap(), manifest);
}

#[test]
fn b06_not_canonical() {
    let bytes = String::from_utf8(canonical(&example())).unwrap();
    for (from, to) in [
        ("\"bytes\":3", "\"bytes\": 3"),
        ("r1", "\\u0072\\u0031"),
        ("a/b\":", "a\\/b\":"),
        ("\"labels\":", " \"labels\":"),
    ] {
        assert_eq!(
            code(bytes.replacen(from, to, 1).as_bytes()),
            Some(Code::ManifestCanonical),
            "{to}"
        );
    }
    let spread = serde_json::to_vec_pretty(&example()).unwrap();
    assert_eq!(code(&spread), Some(Code::ManifestCanonical));
}

#[test]
fn b02_b03_shape() {
    let null = |pointer: &str| {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let (parent, member) = (parent.to_owned(), member.to_owned());
        changed(move |value| value.pointer_mut(&parent).unwrap()[member.as_str()] = Value::Null)
    };
    for bytes in [
        changed(|v| v["producer"] = json!(["runpack", "0.1.0"])),
        changed(|v| {
            v["artifacts"][1]["inputs"][0] = json!([hex(6), "x", format!("sha256:{}", hex(5))]);
        }),
        changed(|v| v["subject"] = json!(["run"])),
        changed(|v| v["artifacts"] = json!({})),
        changed(|v| v["artifacts"] = json!([])),
        changed(|v| v["z"] = json!(1)),
        changed(|v| v["subject"]["z"] = json!(1)),
        changed(|v| v["subject"]["step_id"] = json!("s")),
        changed(|v| v["subject"]["kind"] = json!("step")),
        changed(|v| v["subject"]["kind"] = json!("Run")),
        changed(|v| v["producer"]["z"] = json!(1)),
        changed(|v| v["artifacts"][0]["z"] = json!(1)),
        changed(|v| v["artifacts"][1]["inputs"] = json!([])),
        changed(|v| v["artifacts"][0]["bytes"] = json!("3")),
        changed(|v| v["artifacts"][0]["claimed_sha256"] = json!(hex(1))),
        changed(|v| v["artifacts"][0]["chunks"] = json!([hex(1)])),
        changed(|v| v["artifacts"][0]["bytes"] = json!(CHUNK_BYTES + 1)),
        changed(|v| v["artifacts"][1]["bytes"] = json!(CHUNK_BYTES)),
        changed(|v| v["artifacts"][1]["bytes"] = json!(3 * CHUNK_BYTES)),
        changed(|v| v["labels"]["ü"] = json!("x")),
        changed(|v| v["labels"]["k"] = json!("a\nb")),
        changed(|v| v["labels"]["k"] = json!("")),
        changed(|v| v["artifacts"][0]["media_type"] = json!("text/plain; charset=utf-8")),
        changed(|v| v["artifacts"][0]["kind"] = json!("Spec")),
        changed(|v| v["artifacts"][0]["title"] = json!("a\u{0}")),
        null("/artifacts/0/title"),
        null("/artifacts/1/claimed_sha256"),
        null("/labels"),
        null("/subject/namespace"),
    ] {
        assert_eq!(
            code(&bytes),
            Some(Code::ManifestSchema),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    for (member, _) in example().as_object().unwrap() {
        let bytes = changed(|v| drop(v.as_object_mut().unwrap().remove(member)));
        let expected = if member == "format" {
            Code::ManifestFormat
        } else {
            Code::ManifestSchema
        };
        assert_eq!(code(&bytes), Some(expected), "{member}");
    }
}

#[test]
fn b31_other_formats_are_not_tried() {
    for format in [
        json!("runpack/v2"),
        json!("RUNPACK/V1"),
        json!(1),
        json!(""),
        json!("x".repeat(100)),
    ] {
        assert_eq!(
            code(&changed(|v| v["format"] = format)),
            Some(Code::ManifestFormat)
        );
    }
}

#[test]
fn b10_order_and_collisions() {
    let pair = |first: &str, second: &str| {
        changed(|v| {
            v["artifacts"] = json!([
                {"name": first, "kind": "x", "media_type": "a/b", "bytes": 0, "sha256": hex(1)},
                {"name": second, "kind": "x", "media_type": "a/b", "bytes": 0, "sha256": hex(1)},
            ]);
        })
    };
    for (first, second, expected) in [
        ("a", "b", None),
        ("a", "a", Some(Code::ManifestOrder)),
        ("b", "a", Some(Code::ManifestOrder)),
        ("A", "a", Some(Code::ManifestCollision)),
        ("a", "a/b", Some(Code::ManifestCollision)),
        ("A/b", "a", Some(Code::ManifestCollision)),
        ("A/x", "a/y", None),
        ("a", "a-b", None),
        ("a b", "a/b", None),
    ] {
        assert_eq!(code(&pair(first, second)), expected, "{first} {second}");
    }
}

#[test]
fn b14_a_directory_is_found_behind_names_that_sort_between() {
    // `a` and `a/z` are kept apart by byte order (`-` and `.` come before `/`).
    let names = ["a", "a b", "a-b", "a.b", "a/z"];
    let bytes = changed(|v| {
        let artifact = |name: &&str| json!({"name": name, "kind": "x", "media_type": "a/b", "bytes": 0, "sha256": hex(1)});
        v["artifacts"] = names.iter().map(artifact).collect();
    });
    assert_eq!(code(&bytes), Some(Code::ManifestCollision));
}

#[test]
fn the_spec_is_the_one_that_the_subject_names() {
    let other = |v: &mut Value| v["subject"]["spec_hash"] = json!(format!("sha256:{}", hex(9)));
    assert_eq!(code(&changed(other)), Some(Code::ManifestSpec));
    assert_eq!(
        code(&changed(|v| v["artifacts"][1]["kind"] = json!("spec"))),
        Some(Code::ManifestSpec)
    );
    assert_eq!(
        code(&changed(|v| v["artifacts"][0]["kind"] = json!("other"))),
        None
    );
}

#[test]
fn b09_b16_limits_and_sums() {
    let bytes = canonical(&example());
    let small = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Finding::from(&Manifest::parse(&bytes, &limits).unwrap_err()).code
    };
    assert_eq!(small(|l| l.manifest_bytes_max = 10), Code::ManifestSize);
    assert_eq!(small(|l| l.json_depth_max = 4), Code::ManifestSyntax);
    let changes: [fn(&mut Limits); 6] = [
        |l| l.artifacts_max = 1,
        |l| l.artifact_bytes_max = CHUNK_BYTES,
        |l| l.pack_bytes_max = CHUNK_BYTES + 3,
        |l| l.chunks_max = 1,
        |l| l.inputs_max = 0,
        |l| l.labels_max = 1,
    ];
    for change in changes {
        assert_eq!(small(change), Code::ManifestLimit);
    }
    let exact = Limits {
        artifacts_max: 2,
        artifact_bytes_max: CHUNK_BYTES + 1,
        pack_bytes_max: CHUNK_BYTES + 4,
        chunks_max: 2,
        inputs_max: 1,
        labels_max: 2,
        json_depth_max: 5,
        manifest_bytes_max: len_u64(&bytes),
        ..Limits::default()
    };
    assert!(Manifest::parse(&bytes, &exact).is_ok());
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,20}",
        "\\PC{1,20}",
        Just("\u{202e}\"\\\u{e9}\u{1f600}".to_owned())
    ]
    .prop_filter("no controls", |text| !text.chars().any(char::is_control))
}

fn arbitrary() -> impl Strategy<Value = Value> {
    let artifact = (
        "[a-z][a-z0-9/]{0,8}[a-z]",
        text(),
        any::<bool>(),
        0..3 * CHUNK_BYTES,
    );
    (
        proptest::collection::btree_map("[A-Za-z0-9][A-Za-z0-9._/-]{0,6}", text(), 0..5),
        proptest::collection::vec(artifact, 1..6),
    )
        .prop_map(|(labels, artifacts)| {
            let mut value = example();
            value["labels"] = json!(labels);
            let artifacts: BTreeMap<String, Value> = artifacts
                .into_iter()
                .filter(|(name, ..)| !name.contains("//"))
                .map(|(name, title, titled, bytes)| {
                    let mut artifact =
                        json!({"name": name, "kind": "x", "media_type": "a/b", "bytes": bytes});
                    if bytes > CHUNK_BYTES {
                        let chunks = bytes.div_ceil(CHUNK_BYTES);
                        artifact["chunks"] = (0..chunks).map(|_| json!(hex(7))).collect();
                    } else {
                        artifact["sha256"] = json!(hex(8));
                    }
                    if titled {
                        artifact["title"] = json!(title);
                    }
                    (name, artifact)
                })
                .collect();
            value["artifacts"] = artifacts.into_values().collect();
            value
        })
}

proptest! {
    /// What our types write is what an independent RFC 8785 implementation writes.
    #[test]
    fn written_form_is_jcs(value in arbitrary()) {
        let bytes = canonical(&value);
        match Manifest::parse(&bytes, &Limits::default()) {
            Ok(manifest) => prop_assert_eq!(manifest.to_bytes(), bytes),
            // Random names may collide or be empty; the spelling is never what is wrong.
            Err(error) => prop_assert!(
                matches!(error, ManifestError::Collision { .. } | ManifestError::Schema(_)),
                "{:?}", error
            ),
        }
    }

    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::parse(&bytes, &Limits::default());
    }
}
