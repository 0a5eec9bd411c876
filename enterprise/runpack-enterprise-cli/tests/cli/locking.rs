//! Packs that are locked by configuration.

use runpack_testing::block_on;
use runpack_testing::proxy::{Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind};

use crate::support::{Desk, RUN};

#[test]
fn an_export_under_object_lock_is_proved_locked_and_receipted() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure(
        "{mode: governance, retain_for: 1d, lock_while_writing: 15m}",
        "",
    );
    desk.export("").expect(0);
    let proof = desk.audited("prove");
    assert_eq!(proof.len(), 1);
    assert_eq!(proof[0]["detail"]["verdicts"][0]["verdict"], "proven");
    assert_eq!(desk.audited("lock.seal").len(), 1);
    let status = desk.json(&format!("lock status @ {RUN}"), 0);
    assert_eq!(status["weakest"]["mode"], "GOVERNANCE");
    assert_eq!(status["versions"].as_array().unwrap().len(), 3);
    assert_eq!(status["held"], 0);
    assert!(status["receipted"].is_string());
    let shown = desk.line(&format!("lock status @ {RUN}")).expect(0);
    assert!(shown.out.contains("governance until"), "{}", shown.out);
    // A second export proves nothing anew, and what is verified is what was locked.
    desk.export("").expect(0);
    assert_eq!(desk.audited("prove").len(), 1);
    let report = desk.json(&format!("verify @ {RUN}"), 0);
    assert_eq!(report["verdict"], "valid");
    desk.line("audit-log verify").expect(0);
}

#[test]
fn a_bundle_is_locked_too() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("{mode: governance, retain_for: 1d}", "");
    let line = format!("export run {RUN} --spec run/spec.json --to file:packs --bundle run.tar.gz");
    desk.line(&line).expect(0);
    desk.line("push run.tar.gz --to @").expect(0);
    let bundles: Vec<_> = block_on(desk.bucket.versions_raw("20"));
    assert_eq!(bundles.len(), 1);
    let removed = desk
        .bucket
        .delete_version_raw(&bundles[0].name, &bundles[0].version);
    assert_eq!(block_on(removed), Err("AccessDenied".to_owned()));
    // It is looked at, locked for longer, held and attested as packs of files are.
    let place = format!("@/{}", bundles[0].name);
    let status = desk.json(&format!("lock status {place}"), 0);
    assert_eq!(status["versions"].as_array().unwrap().len(), 1);
    let set = desk.json(&format!("lock set {place} --for 2d"), 0);
    assert_eq!(set["changed"], true);
    let line = format!("hold place {place} --matter m-1 --signing-key key.pem");
    desk.line(&line).expect(0);
    assert_eq!(desk.json(&format!("lock status {place}"), 0)["held"], 1);
    let line = format!("attest create {place} --signing-key key.pem --out bundle.json");
    let attested = desk.json(&line, 0);
    let id = attested["pack_id"].as_str().unwrap();
    let line = format!("verify-attestation bundle.json --key key.pub.pem --pack-id {id}");
    desk.line(&line).expect(0);
}

#[test]
fn a_bundle_over_other_bytes_is_not_acknowledged_however_often_it_is_pushed() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("{mode: governance, retain_for: 1d}", "");
    let line = format!(
        "export run {RUN} --spec run/spec.json --to file:packs --bundle run.tar.gz --created-at 2026-11-20T12:00:00Z --json"
    );
    let exported = desk.line(&line).expect(0).json();
    let hex = exported["pack_id"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:")
        .to_owned();
    // Somebody was there before, and hid it.
    let name = format!("2026/11/run-1/{hex}.tar.gz");
    block_on(desk.bucket.put_raw(&name, "no bundle at all"));
    block_on(desk.bucket.delete_raw(&name));
    for _ in 0..3 {
        desk.line("push run.tar.gz --to @").expect(1);
    }
    assert!(desk.audited("lock.seal").is_empty());
}

#[test]
fn a_mirror_locks_what_somebody_brought_and_did_not_lock() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("", "");
    let line = format!("export run {RUN} --spec run/spec.json --to file:packs");
    desk.line(&line).expect(0);
    desk.line("mirror file:packs @").expect(0);
    desk.json(&format!("lock status @ {RUN}"), 1);
    desk.configure("{mode: governance, retain_for: 1d}", "");
    desk.line("mirror file:packs @").expect(0);
    let status = desk.json(&format!("lock status @ {RUN}"), 0);
    assert_eq!(status["weakest"]["mode"], "GOVERNANCE");
}

#[test]
fn compliance_is_consented_to_or_not_begun() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure(
        "{mode: compliance, retain_for: 1d, lock_while_writing: 15m}",
        "",
    );
    let refused = desk.export("").expect(2);
    assert!(refused.err.contains("--yes-irrevocable"), "{}", refused.err);
    assert!(block_on(desk.bucket.versions_raw("")).is_empty());
    desk.export("--yes-irrevocable").expect(0);
    let status = desk.json(&format!("lock status @ {RUN}"), 0);
    assert_eq!(status["weakest"]["mode"], "COMPLIANCE");
}

#[test]
fn l01_a_bucket_without_locks_gets_nothing() {
    for kind in [BucketKind::Plain, BucketKind::Versioned] {
        let desk = Desk::new(Kind::Ceph, kind);
        desk.configure("{mode: governance, retain_for: 1d}", "");
        desk.export("").expect(2);
        let names = block_on(desk.bucket.versions_raw("tenant/"));
        assert!(names.is_empty(), "{names:?}");
    }
}

#[test]
fn l02_an_export_to_a_bucket_that_only_shows_locks_fails_closed() {
    let desk = Desk::new(Kind::MiniStack, BucketKind::Locked);
    let proxy = FaultProxy::start(&desk.bucket.server().endpoint);
    // Compliance is kept as governance, which every deletion bypasses, and every read-back looks right.
    let set = |name: &str, value: &str| {
        Rule::new(Fault::SetRequestHeader(
            name.to_owned(),
            Some(value.to_owned()),
        ))
    };
    let mode = "x-amz-object-lock-mode";
    proxy.plan(set(mode, "GOVERNANCE").method("PUT").header(mode).always());
    let bypass = set("x-amz-bypass-governance-retention", "true");
    proxy.plan(bypass.method("DELETE").always());
    let show = Fault::SetHeader(mode.to_owned(), Some("COMPLIANCE".to_owned()));
    proxy.plan(
        Rule::new(show)
            .method("HEAD")
            .key_contains("_runpack")
            .always(),
    );
    let desk = desk.by_way_of(proxy.endpoint());
    desk.configure("{mode: compliance, retain_for: 1d}", "");
    let refused = desk.export("--yes-irrevocable").expect(1);
    assert!(refused.err.contains("does not enforce"), "{}", refused.err);
    let written = block_on(desk.bucket.versions_raw("tenant/"));
    assert!(written.is_empty(), "{written:?}");
    let proved = desk.json("prove @ --mode compliance", 1);
    assert_eq!(proved["verdicts"]["compliance"], "not-enforced");
}

#[test]
fn prove_shows_every_attempt_with_its_control() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    let said = desk.line("prove @").expect(0);
    for word in [
        "enforced, proven",
        "delete-version",
        "weaken-mode",
        "bypass",
    ] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    let proved = desk.json("prove @ --mode compliance", 0);
    assert_eq!(proved["verdicts"]["compliance"], "proven");
}

#[test]
fn locks_are_set_and_made_longer_and_never_shorter() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("", "");
    desk.export("").expect(0);
    let status = desk.json(&format!("lock status @ {RUN}"), 1);
    assert!(status["weakest"].is_null());
    assert_eq!(status["findings"][0]["code"], "no-receipt");
    let set = desk.json(&format!("lock set @ {RUN} --mode governance --for 2d"), 0);
    assert_eq!(set["changed"], true);
    let until = set["lock"]["until"].as_str().unwrap().to_owned();
    let again = desk.json(&format!("lock set @ {RUN} --mode governance --for 1d"), 0);
    assert_eq!(again["changed"], false);
    assert_eq!(again["lock"]["until"], until);
    // A campaign over the tenant, and again: what was done is not done twice.
    let line = "lock extend @ --tenant acme --mode governance --for 3d --campaign campaign.txt";
    let first = desk.json(line, 0);
    assert_eq!((&first["packs"], &first["changed"]), (&1.into(), &1.into()));
    let second = desk.json(line, 0);
    assert_eq!(
        (&second["packs"], &second["changed"]),
        (&1.into(), &0.into())
    );
    let status = desk.json(&format!("lock status @ {RUN}"), 0);
    let longer = status["weakest"]["until"].as_str().unwrap().to_owned();
    assert!(longer > until);
    // Another end is another campaign, and not one that was done already.
    let other = line.replace("3d", "9d");
    let refused = desk.line(&other).expect(2);
    assert!(refused.err.contains("another campaign"), "{}", refused.err);
    let other = other.replace(" --campaign campaign.txt", "");
    let begun = desk.json(&other, 0);
    assert_eq!(begun["changed"], 1);
    let again = desk.json(&other, 0);
    assert_eq!(
        (&again["campaign"], &again["changed"]),
        (&begun["campaign"], &0.into())
    );
    let status = desk.json(&format!("lock status @ {RUN}"), 0);
    assert!(status["weakest"]["until"].as_str().unwrap() > longer.as_str());
    desk.line(&format!(
        "lock set @ {RUN} --mode governance --until 2020-01-01T00:00:00Z"
    ))
    .expect(2);
}

#[test]
fn l05_l06_shadows_are_shown_and_verify_reads_what_was_locked() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("{mode: governance, retain_for: 1d}", "");
    desk.export("").expect(0);
    let names: Vec<_> = block_on(desk.bucket.versions_raw("tenant/"));
    for version in &names {
        block_on(desk.bucket.delete_raw(&version.name));
    }
    block_on(desk.bucket.put_raw(&names[0].name, "other bytes"));
    let status = desk.json(&format!("lock status @ {RUN}"), 1);
    let codes: Vec<_> = status["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].clone())
        .collect();
    assert!(codes.contains(&"delete-marker".into()), "{codes:?}");
    assert!(codes.contains(&"newer-version".into()), "{codes:?}");
}

#[test]
fn configuration_that_cannot_be_meant_is_refused() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    for bad in [
        "{mode: governance}",
        "{mode: worm, retain_for: 1d}",
        "{retain_for: 1d}",
        "{mode: governance, retain_for: 1d, retain_until: '2033-01-01T00:00:00Z'}",
        "{mode: governance, retain_for: 1d, other: 1}",
        "true",
    ] {
        desk.configure(bad, "");
        let said = desk.line("config show").expect(2);
        assert!(said.err.contains("object_lock"), "{bad}: {}", said.err);
    }
    desk.configure(
        "{mode: governance, retain_for: 1d, legal_hold: {matter: m-1}}",
        "",
    );
    let said = desk.export("").expect(2);
    assert!(said.err.contains("key to sign with"), "{}", said.err);
}

#[test]
fn routes_take_packs_to_their_bucket_and_to_no_other() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    let other = block_on(desk.bucket.server().bucket(BucketKind::Locked));
    let endpoint = &desk.bucket.server().endpoint;
    let policy = format!(
        "  policy:\n    routes:\n      - {{tenant: acme, bucket: {}, endpoint: '{endpoint}', mode: governance, retain_for: 1d}}\n      - {{tenant: beta, bucket: {}, endpoint: '{endpoint}', mode: governance, retain_for: 1d}}\n",
        desk.bucket.name, other.name
    );
    desk.configure("", &policy);
    let export = |tenant: &str, more: &str| {
        desk.line(&format!(
            "export run --tenant {tenant} --namespace prod --scenario loan --run-id run-1 --spec run/spec.json {more}"
        ))
    };
    export("acme", "").expect(0);
    export("beta", "").expect(0);
    assert_eq!(block_on(desk.bucket.versions_raw("tenant/acme/")).len(), 3);
    assert_eq!(block_on(other.versions_raw("tenant/beta/")).len(), 3);
    // A bundle and a directory are pushed by whose they are.
    let line = "export run --tenant beta --namespace prod --scenario loan --run-id run-2 --spec run/spec.json --to file:packs --bundle two.tar.gz";
    desk.line(line).expect(0);
    desk.line("push two.tar.gz").expect(0);
    assert_eq!(block_on(other.versions_raw("20")).len(), 1);
    assert!(block_on(desk.bucket.versions_raw("20")).is_empty());
    // To another bucket by hand: refused, and nothing is written there.
    let refused = export("beta", &format!("--to s3://{}", desk.bucket.name)).expect(2);
    assert!(refused.err.contains("another store"), "{}", refused.err);
    assert!(block_on(desk.bucket.versions_raw("tenant/beta/")).is_empty());
    let refused = export("gamma", "").expect(2);
    assert!(refused.err.contains("no route"), "{}", refused.err);
}

#[test]
fn a_region_that_is_another_or_not_told_is_refused() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    let endpoint = &desk.bucket.server().endpoint;
    let policy = format!(
        "  policy:\n    default: {{bucket: {}, endpoint: '{endpoint}', region: mars-north-1, mode: governance, retain_for: 1d}}\n",
        desk.bucket.name
    );
    desk.configure("", &policy);
    let line = format!("export run {RUN} --spec run/spec.json");
    let refused = desk.line(&line).expect(2);
    assert!(refused.err.contains("region"), "{}", refused.err);
    assert!(block_on(desk.bucket.versions_raw("tenant/")).is_empty());
}

#[test]
fn a_presigned_put_is_bound_to_the_lock_and_to_its_place() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("{mode: governance, retain_for: 1d}", "");
    let line = format!("export run {RUN} --spec run/spec.json --to file:packs --bundle run.tar.gz");
    desk.line(&line).expect(0);
    let signed = desk.json("presign @ --put run.tar.gz --expires 15m", 0);
    let headers = signed["headers"].to_string();
    assert!(headers.contains("x-amz-object-lock-mode"), "{signed}");
    assert!(
        headers.contains("x-amz-object-lock-retain-until-date"),
        "{signed}"
    );
    // Where such packs must not go, no URL is made.
    let endpoint = &desk.bucket.server().endpoint;
    let policy = format!(
        "  policy:\n    routes:\n      - {{tenant: acme, bucket: elsewhere, endpoint: '{endpoint}'}}\n      - {{tenant: beta, bucket: {}, endpoint: '{endpoint}'}}\n",
        desk.bucket.name
    );
    desk.configure("", &policy);
    let refused = desk
        .line("presign @ --put run.tar.gz --expires 15m")
        .expect(2);
    assert!(refused.err.contains("another store"), "{}", refused.err);
}

#[test]
fn a_pack_that_a_campaign_cannot_lock_is_written_down_as_failed_and_tried_again() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("", "");
    desk.export("").expect(0);
    let names = block_on(desk.bucket.versions_raw("tenant/"));
    let artifact = names
        .iter()
        .find(|one| one.name.ends_with("decisions.json"));
    let artifact = artifact.unwrap();
    let sound = block_on(desk.bucket.read_raw(&artifact.name)).unwrap();
    let gone = desk
        .bucket
        .delete_version_raw(&artifact.name, &artifact.version);
    block_on(gone).unwrap();
    let line = "lock extend @ --tenant acme --mode governance --for 3d";
    let failed = desk.json(line, 2);
    assert_eq!(failed["packs"], 0);
    assert_eq!(failed["failed"].as_array().unwrap().len(), 1);
    let audited = desk.audited("lock.extend");
    assert_eq!(audited.len(), 1);
    assert_eq!(audited[0]["outcome"], "failed");
    block_on(desk.bucket.put_raw(&artifact.name, sound));
    let done = desk.json(line, 0);
    assert_eq!((&done["packs"], &done["changed"]), (&1.into(), &1.into()));
}

/// That a region did not answer when it was opened is not forgotten by a store that reads locks.
#[test]
fn a_region_that_is_away_is_told_and_its_replica_read() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("", "");
    let exported = desk.export("--json").expect(0).json();
    let id = exported["pack_id"].as_str().unwrap();
    let server = desk.bucket.server();
    let (endpoint, region) = (&server.endpoint, &server.region);
    let bucket = &desk.bucket.name;
    desk.write(
        "runpack.yaml",
        format!(
            "runpacks:\n  regions:\n    stores:\n      eu: {{endpoint: \"http://127.0.0.1:1\", bucket: {bucket}, \
             region: {region}, location: trusted, replicas: [dub]}}\n      dub: {{endpoint: \"{endpoint}\", bucket: \
             {bucket}, region: {region}, location: trusted}}\n    routes:\n      - {{tenant: \"*\", region: eu}}\n"
        ),
    );
    let said = desk
        .line(&format!("verify region:eu --pack-id {id}"))
        .expect(0);
    assert!(said.err.contains("region `eu` is away"), "{}", said.err);
}
