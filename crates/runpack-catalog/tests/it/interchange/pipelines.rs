//! Runs of pipelines and their steps, for those who read what is told of them.

use runpack_catalog::Interchange;
use runpack_core::id::PackId;
use runpack_core::manifest::{RunPart, Subject};
use serde_json::Value;

use super::{NOW, at, hold};
use crate::support::{artifact, input, kind, manifest};

fn step(step_id: &str) -> Subject {
    Subject::Step {
        tenant: "acme".parse().unwrap(),
        run_id: "nightly-1".parse().unwrap(),
        step_id: step_id.parse().unwrap(),
    }
}

#[test]
fn a_step_names_the_run_of_its_pipeline_and_what_it_was_given() {
    let given = artifact("inputs/raw.csv", b"raw");
    let made = artifact("outputs/clean.csv", b"clean");
    let labels = [("pipeline", "nightly"), ("outcome", "cancelled")];
    let clean = manifest(
        step("clean"),
        NOW,
        &labels,
        vec![given.clone(), made.clone()],
    );
    let other = manifest(step("train"), NOW, &[], vec![given, made]);
    let mut parents = Vec::new();
    for (pack, job, ends) in [
        (&clean, "nightly.clean", "ABORT"),
        (&other, "train", "COMPLETE"),
    ] {
        let told = Interchange::of(pack);
        hold(&told, Some(pack));
        let events: Vec<Value> = told.to_openlineage().collect();
        assert_eq!(at(&events[0], "/job/name"), job);
        assert_eq!(at(&events[0], "/job/namespace"), "acme");
        assert_eq!(at(&events[1], "/eventType"), ends);
        assert_eq!(
            at(&events[1], "/inputs/0/facets/runpack_integrity/name"),
            "inputs/raw.csv"
        );
        assert_eq!(
            at(&events[1], "/outputs/0/facets/runpack_integrity/name"),
            "outputs/clean.csv"
        );
        parents.push(at(&events[1], "/run/facets/parent/run/runId").clone());
    }
    assert_eq!(
        parents[0], parents[1],
        "the steps of one run have one parent"
    );
}

fn part(part: &RunPart) -> runpack_core::manifest::Artifact {
    kind(&part.name(), b"{}", part.kind(), part.media_type())
}

#[test]
fn a_run_of_a_pipeline_that_failed_is_told_as_that() {
    let train = RunPart::Step("train".parse().unwrap());
    let parts = RunPart::REQUIRED.iter().chain([&train]);
    let parts: Vec<_> = parts.map(part).collect();
    let subject = Subject::Pipeline {
        tenant: "acme".parse().unwrap(),
        run_id: "nightly-1".parse().unwrap(),
    };
    let started = ("started_at", "2026-11-20T11:00:00Z");
    for (labels, job, ends) in [
        (vec![started, ("outcome", "failed")], "pipeline", "FAIL"),
        (
            vec![started, ("outcome", "cancelled"), ("pipeline", "nightly")],
            "nightly",
            "ABORT",
        ),
        (
            vec![started, ("outcome", "succeeded"), ("pipeline", "x")],
            "x",
            "COMPLETE",
        ),
    ] {
        let pack = manifest(subject.clone(), NOW, &labels, parts.clone());
        let told = Interchange::of(&pack);
        hold(&told, Some(&pack));
        let events: Vec<Value> = told.to_openlineage().collect();
        assert_eq!(at(&events[0], "/eventTime"), "2026-11-20T11:00:00Z");
        assert_eq!(at(&events[1], "/eventType"), ends);
        assert_eq!(at(&events[1], "/job/name"), job);
        assert_eq!(at(&events[1], "/job/namespace"), "acme");
        let names = |of: &str| {
            let sets = at(&events[1], of).as_array().unwrap();
            let name = "/facets/runpack_integrity/name";
            sets.iter()
                .map(|set| at(set, name).as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("/inputs"),
            ["definition.yaml", "plan.json", "steps/train/manifest.json"]
        );
        assert_eq!(
            names("/outputs"),
            ["events/audit_trail.jsonl", "metadata.json"]
        );
        // Its steps name the run that it is, and the job.
        let of_step: Vec<_> = labels
            .iter()
            .filter(|(name, _)| *name == "pipeline")
            .copied()
            .collect();
        let made = vec![artifact("outputs/clean.csv", b"clean")];
        let of_step = Interchange::of(&manifest(step("train"), NOW, &of_step, made));
        let of_step: Vec<Value> = of_step.to_openlineage().collect();
        let parent = at(&of_step[1], "/run/facets/parent");
        assert_eq!(at(parent, "/run/runId"), at(&events[1], "/run/runId"));
        assert_eq!(at(parent, "/job/name"), job);
    }
}

/// An input was there before the step, which made its outputs alone.
#[test]
fn a_step_did_not_make_what_it_was_given() {
    let source = || {
        let pack = PackId::of(b"a pack that nobody has");
        vec![input(pack, "outputs/raw.csv", b"raw")]
    };
    let given = artifact("inputs/raw.csv", b"raw").with_inputs(source());
    let made = artifact("outputs/clean.csv", b"clean").with_inputs(source());
    let pack = manifest(step("clean"), NOW, &[], vec![given, made]);
    let told = Interchange::of(&pack);
    hold(&told, Some(&pack));
    let prov = told.to_prov_json();
    let derived = prov["wasDerivedFrom"].as_object().unwrap();
    assert_eq!(derived.len(), 2);
    for derivation in derived.values() {
        let product = derivation["prov:generatedEntity"].as_str().unwrap();
        let is_made = product.ends_with("/outputs/clean.csv");
        assert_eq!(derivation.get("prov:activity").is_some(), is_made);
    }
}
