//! The commands of `Docs/auditors.md`, run as they stand there, on a pack with a stamped attestation:
//! they pass, and each kind of damage makes them fail.

use std::fs;
use std::path::Path;

use runpack_core::attestation::{Expected, sign, verify as verify_attestation};
use runpack_core::sign::SigningKey;
use runpack_enterprise::report::{Report, RuleSet, TimeBasis};
use runpack_enterprise::timestamp::{TimestampRoots, verify};

use crate::authority::{run, shell, stamped};
use crate::sample;

/// The blocks of the page that a shell runs, in order.
fn commands() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Docs/auditors.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```sh\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() > 4, "the page has its commands");
    blocks.concat()
}

fn evidence(path: &Path) {
    let manifest = sample::manifest();
    fs::create_dir(path.join("logs")).unwrap();
    for artifact in manifest.artifacts() {
        let name = artifact.name().as_str();
        fs::write(path.join(name), name).unwrap();
    }
    fs::write(path.join("manifest.json"), manifest.to_bytes()).unwrap();
    fs::write(path.join("attestation.json"), stamped(path).to_bytes()).unwrap();
    fs::write(path.join("key.pem"), include_str!("key.pem")).unwrap();
    run(path, "openssl pkey -in key.pem -pubout -out public.pem");
}

#[test]
fn l13_the_commands_of_the_page_hold_and_catch_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    evidence(path);
    let commands = commands();
    run(path, &commands);

    let manifest = fs::read(path.join("manifest.json")).unwrap();
    let attestation = fs::read(path.join("attestation.json")).unwrap();
    let fails = |name: &str| {
        let output = shell(path, &commands);
        assert!(!output.status.success(), "{name}: {output:?}");
    };
    fs::write(path.join("decisions.json"), "x").unwrap();
    fails("another artifact");
    fs::write(path.join("decisions.json"), "decisions.json").unwrap();
    let other = String::from_utf8(manifest.clone()).unwrap();
    fs::write(path.join("manifest.json"), other.replace("run-1", "run-2")).unwrap();
    fails("another pack");
    fs::write(path.join("manifest.json"), &manifest).unwrap();

    let other_key = SigningKey::from_pem(include_str!("other.pem")).unwrap();
    let of_other = sign(
        Expected::Manifest(&sample::manifest()),
        "run-1",
        &sample::predicate(),
        &other_key,
    );
    fs::write(path.join("attestation.json"), of_other.unwrap().to_bytes()).unwrap();
    fails("another key");
    let unstamped = sample::attested().to_bytes();
    fs::write(path.join("attestation.json"), unstamped).unwrap();
    fails("no time stamp");
    let mut weak = sample::predicate();
    weak.objects[0].mode = runpack_core::attestation::Mode::Governance;
    let weak = sign(
        Expected::Manifest(&sample::manifest()),
        "run-1",
        &weak,
        &sample::key(),
    );
    fs::write(path.join("attestation.json"), weak.unwrap().to_bytes()).unwrap();
    fails("governance");
    fs::write(path.join("attestation.json"), &attestation).unwrap();
    run(path, &commands);
}

#[test]
fn t05_a_verified_stamp_makes_the_time_more_than_a_claim() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let file = stamped(path).to_bytes();
    let manifest = sample::manifest();
    let attestation =
        verify_attestation(&file, &sample::trusted(), Expected::Manifest(&manifest)).unwrap();
    let roots = fs::read_to_string(path.join("tsa-roots.pem")).unwrap();
    let roots = TimestampRoots::from_pem(&roots).unwrap();
    let stamp = verify(
        &attestation.timestamps()[0],
        attestation.signature(),
        &roots,
    )
    .unwrap();
    let report = Report::new(&attestation, RuleSet::EuAiAct, Some(stamp));
    assert_eq!(report.observed_at_basis, TimeBasis::TimeStamped);
    assert!(
        report
            .to_html()
            .contains("time-stamped by a trusted authority at")
    );
}
