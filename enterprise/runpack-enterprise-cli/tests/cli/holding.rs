//! Legal holds, and the ledger that says whose they are.

use runpack_testing::block_on;
use runpack_testing::servers::{BucketKind, Kind};

use crate::support::{Desk, RUN};

fn held() -> Desk {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("", "");
    desk.export("").expect(0);
    desk
}

fn change(desk: &Desk, way: &str, matter: &str, code: i32) -> serde_json::Value {
    desk.json(
        &format!("hold {way} @ {RUN} --matter {matter} --signing-key key.pem"),
        code,
    )
}

#[test]
fn a_pack_is_free_when_its_last_matter_is_released() {
    let desk = held();
    assert_eq!(change(&desk, "place", "m-1", 0)["new"], true);
    assert_eq!(
        change(&desk, "place", "m-2", 0)["matters"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let list = desk.json("hold list @ --trusted-key key.pub.pem", 0);
    assert_eq!(list["entries"].as_array().unwrap().len(), 2);
    assert_eq!(list["pinned"], true);
    let shown = desk.line("hold list @ --trusted-key key.pub.pem").expect(0);
    assert!(shown.out.contains("m-1, m-2"), "{}", shown.out);
    assert_eq!(change(&desk, "release", "m-1", 0)["versions"], "held");
    let status = desk.json(&format!("lock status @ {RUN}"), 1);
    assert_eq!(status["held"], 3);
    assert_eq!(change(&desk, "release", "m-2", 0)["versions"], "free");
    let versions = block_on(desk.bucket.versions_raw("tenant/"));
    for version in versions {
        block_on(
            desk.bucket
                .delete_version_raw(&version.name, &version.version),
        )
        .unwrap();
    }
    assert_eq!(desk.audited("hold.place").len(), 2);
    assert_eq!(desk.audited("hold.release").len(), 2);
}

#[test]
fn what_is_not_proved_clears_nothing_and_is_written_down() {
    let desk = held();
    change(&desk, "place", "m-1", 0);
    change(&desk, "place", "m-2", 0);
    // A key that nobody trusts.
    let said = desk
        .line("hold list @ --trusted-key other.pub.pem")
        .expect(1);
    assert!(said.err.contains("no key that is trusted"), "{}", said.err);
    // The last entry is cut off.
    let entries = block_on(desk.bucket.versions_raw("_runpack/holds/"));
    let last = entries.iter().max_by_key(|entry| &entry.name).unwrap();
    block_on(desk.bucket.clear_hold_raw(&last.name, &last.version)).unwrap();
    block_on(desk.bucket.delete_version_raw(&last.name, &last.version)).unwrap();
    let said = desk.line(&format!(
        "hold release @ {RUN} --matter m-1 --signing-key key.pem"
    ));
    let said = said.expect(1);
    assert!(said.err.contains("cut"), "{}", said.err);
    let refused = desk.audited("hold.release");
    assert_eq!(refused[0]["outcome"], "refused");
    let versions = block_on(desk.bucket.versions_raw("tenant/"));
    for version in versions {
        assert!(block_on(
            desk.bucket.is_held_raw(&version.name, &version.version)
        ));
    }
}

#[test]
fn terms_with_a_matter_hold_every_pack() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure(
        "{mode: governance, retain_for: 1d, legal_hold: {matter: m-9}}",
        "",
    );
    desk.export("--signing-key key.pem").expect(0);
    let status = desk.json(&format!("lock status @ {RUN}"), 0);
    assert_eq!(status["held"], 3);
    let list = desk.json("hold list @ --trusted-key key.pub.pem", 0);
    assert_eq!(list["held"][0]["matters"][0], "m-9");
}

#[test]
fn the_audit_log_is_signed_exported_and_held_against_its_heads() {
    let desk = held();
    change(&desk, "place", "m-1", 0);
    change(&desk, "release", "m-1", 0);
    let signed = desk.json("audit-log sign --signing-key key.pem", 0);
    let head = signed["head"]["line"].as_str().unwrap();
    let expecting = format!("audit-log verify --expect-head {head}");
    desk.line(&expecting).expect(0);
    let checked = desk.json("audit-log verify --trusted-key key.pub.pem", 0);
    assert_eq!(checked["heads"], 1);
    desk.line("audit-log export --out log.jsonl").expect(0);
    desk.line("audit-log export --out log.jsonl").expect(2);
    let log = desk.path("state/audit/audit.jsonl");
    let lines = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, lines.replace("m-1", "m-2")).unwrap();
    desk.line("audit-log verify").expect(1);
    std::fs::write(&log, lines.lines().next().unwrap().to_owned() + "\n").unwrap();
    desk.line("audit-log verify").expect(0);
    let cut = desk.line(&expecting).expect(1);
    assert!(cut.err.contains("is not in the audit log"), "{}", cut.err);
    desk.line("audit-log sign --signing-key key.pem").expect(1);
    let checked = desk.line("audit-log verify --trusted-key key.pub.pem");
    // What was signed says of as many lines as there were, of which one is left.
    checked.expect(1);
}

#[test]
fn l15_what_the_ledger_holds_does_not_expire() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure(
        "",
        "  retention: {policies: [{name: all, keep_for: 30d}]}\n",
    );
    desk.export("--created-at 2026-01-01T00:00:00Z").expect(0);
    desk.line("retention plan @ --out plan.json").expect(0);
    change(&desk, "place", "m-1", 0);
    // The bits of the store are cleared behind the ledger's back: it holds all the same.
    for version in block_on(desk.bucket.versions_raw("tenant/")) {
        block_on(desk.bucket.clear_hold_raw(&version.name, &version.version)).unwrap();
    }
    let apply = "retention apply plan.json --store @";
    for (more, says) in [
        ("", "no key is named whose signatures count"),
        ("--trusted-key other.pub.pem", "no key that is trusted"),
        ("--trusted-key key.pub.pem", "held for m-1"),
    ] {
        let kept = desk.line(&format!("{apply} {more}")).expect(1);
        assert!(kept.out.contains(says), "{more}: {} {}", kept.out, kept.err);
    }
    // A machine that has not seen the ledger cannot tell whether it was cut.
    let stranger = desk.path("elsewhere");
    let state = [("RUNPACK_STATE_DIR", stranger.to_str().unwrap())];
    let trusted = format!("{apply} --trusted-key key.pub.pem");
    let kept = desk.line_with(&trusted, &state).expect(1);
    assert!(kept.out.contains("has not seen the ledger"), "{}", kept.out);
    assert_eq!(block_on(desk.bucket.versions_raw("tenant/")).len(), 3);
    change(&desk, "release", "m-1", 0);
    desk.line(&trusted).expect(0);
    let left = block_on(desk.bucket.versions_raw("tenant/"));
    assert_eq!(left.len(), 1);
    assert!(left[0].name.ends_with("manifest.json"));
    // Each removal is in the log of what this machine did.
    assert_eq!(desk.audited("remove").len(), 2);
}
