//! Copies of a pack in a second bucket, made by hand: what is wrong with each is found (L12).

use runpack_core::store::s3::LockMode;
use runpack_core::time::Timestamp;
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Bypass, Kind, RawVersion, TestBucket, shared};
use serde_json::Value;

use crate::support::{Desk, RUN};

/// A pack of three versions, locked in the first bucket, and a second bucket.
struct Pair {
    desk: Desk,
    second: TestBucket,
}

impl Pair {
    fn new(second: BucketKind) -> Self {
        let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
        desk.configure("{mode: governance, retain_for: 30d}", "");
        desk.export("").expect(0);
        let second = block_on(shared(Kind::Ceph).bucket(second));
        Self { desk, second }
    }

    fn versions(&self) -> Vec<RawVersion> {
        block_on(self.desk.bucket.versions_raw("tenant/"))
    }

    /// Copies every version.
    fn copy(&self) -> Vec<RawVersion> {
        let sources = self.versions();
        assert_eq!(sources.len(), 3);
        for source in sources {
            let read = self
                .desk
                .bucket
                .read_version_raw(&source.name, &source.version);
            let bytes = block_on(read).unwrap();
            block_on(self.second.put_raw(&source.name, bytes));
        }
        block_on(self.second.versions_raw("tenant/"))
    }

    fn lock(&self, copy: &RawVersion, mode: LockMode, until: Timestamp) {
        let lock = (mode, until);
        let set = self
            .second
            .retain_raw(&copy.name, &copy.version, lock, Bypass::Not);
        assert_eq!(block_on(set), Ok(()));
    }

    /// When the source's locks end.
    fn until(&self) -> Timestamp {
        let status = self.desk.json(&format!("lock status @ {RUN}"), 0);
        status["weakest"]["until"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    fn lock_all(&self, copies: &[RawVersion]) {
        // The artifacts' locks may end a moment after the manifest's; a day later is later for all.
        let until = self.until().unix_seconds().saturating_add(86_400);
        let until = Timestamp::from_unix_seconds(until).unwrap();
        for copy in copies {
            self.lock(copy, LockMode::Governance, until);
        }
    }

    fn line(&self) -> String {
        format!(
            "replicas verify @ {RUN} --replica s3://{}",
            self.second.name
        )
    }

    fn verify(&self, code: i32) -> Value {
        self.desk.json(&self.line(), code)
    }
}

/// What was found that is no note, each once.
fn codes(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    let codes = findings
        .iter()
        .map(|found| found["code"].as_str().unwrap().to_owned());
    let mut codes: Vec<_> = codes
        .filter(|code| code != "replica.not_replicated")
        .collect();
    codes.dedup();
    codes
}

#[test]
fn copies_that_are_locked_no_less_are_kept() {
    let pair = Pair::new(BucketKind::Locked);
    let copies = pair.copy();
    pair.lock_all(&copies);
    let report = pair.verify(0);
    assert_eq!(report["verdict"], "kept");
    assert_eq!(report["versions"].as_array().unwrap().len(), 3);
    assert!(codes(&report).is_empty(), "{report}");
    let shown = pair.desk.line(&pair.line()).expect(0);
    assert!(
        shown.out.contains("copied, and locked no less"),
        "{}",
        shown.out
    );
    let audited = pair.desk.audited("replicas.verify");
    assert_eq!(audited.len(), 2);
    assert_eq!(audited[0]["detail"]["verdict"], "kept");
}

#[test]
fn l12_copies_without_a_lock_are_found() {
    for kind in [BucketKind::Locked, BucketKind::Versioned, BucketKind::Plain] {
        let pair = Pair::new(kind);
        pair.copy();
        let report = pair.verify(1);
        assert_eq!(report["verdict"], "not-kept");
        assert_eq!(codes(&report), ["replica.unlocked"], "{kind:?} {report}");
        let unlocked = report["findings"].as_array().unwrap().iter();
        let unlocked = unlocked.filter(|found| found["code"] == "replica.unlocked");
        assert_eq!(unlocked.count(), 3);
    }
}

#[test]
fn l12_copies_that_are_locked_for_less_are_found() {
    let pair = Pair::new(BucketKind::Locked);
    let copies = pair.copy();
    pair.lock_all(&copies[1..]);
    let sooner = pair.until().unix_seconds().saturating_sub(86_400);
    let sooner = Timestamp::from_unix_seconds(sooner).unwrap();
    pair.lock(&copies[0], LockMode::Governance, sooner);
    let report = pair.verify(1);
    assert_eq!(codes(&report), ["replica.lock_shorter"], "{report}");
}

#[test]
fn l08_a_hold_that_the_copies_have_not_is_found() {
    let pair = Pair::new(BucketKind::Locked);
    let copies = pair.copy();
    pair.lock_all(&copies);
    let source = &pair.versions()[0];
    let set = pair
        .desk
        .bucket
        .place_hold_raw(&source.name, &source.version);
    assert_eq!(block_on(set), Ok(()));
    assert_eq!(codes(&pair.verify(1)), ["replica.hold_missing"]);
}

#[test]
fn a_copy_that_is_missing_or_another_is_found() {
    let pair = Pair::new(BucketKind::Locked);
    assert_eq!(codes(&pair.verify(1)), ["replica.missing"]);
    let copies = pair.copy();
    let (gone, other) = (&copies[0], &copies[1]);
    for copy in [gone, other] {
        let removed = pair.second.delete_version_raw(&copy.name, &copy.version);
        assert_eq!(block_on(removed), Ok(()));
    }
    let bytes = vec![b'x'; usize::try_from(other.bytes).unwrap()];
    block_on(pair.second.put_raw(&other.name, bytes));
    pair.lock_all(&block_on(pair.second.versions_raw("tenant/")));
    let report = pair.verify(1);
    let mut found = codes(&report);
    found.sort();
    assert_eq!(found, ["replica.differs", "replica.missing"], "{report}");
    // With the missing one back, the other remains.
    let source = &pair.versions()[0];
    assert_eq!(source.name, gone.name);
    let bytes = block_on(
        pair.desk
            .bucket
            .read_version_raw(&source.name, &source.version),
    );
    block_on(pair.second.put_raw(&gone.name, bytes.unwrap()));
    pair.lock_all(&block_on(pair.second.versions_raw("tenant/")));
    assert_eq!(codes(&pair.verify(1)), ["replica.differs"]);
}

#[test]
fn l05_l06_what_lies_over_a_copy_is_found() {
    for is_marker in [true, false] {
        let pair = Pair::new(BucketKind::Locked);
        let copies = pair.copy();
        pair.lock_all(&copies);
        let name = &copies[0].name;
        if is_marker {
            block_on(pair.second.delete_raw(name));
        } else {
            block_on(pair.second.put_raw(name, "other"));
        }
        let report = pair.verify(1);
        assert_eq!(codes(&report), ["replica.shadowed"], "{report}");
    }
}

#[test]
fn a_replica_that_may_not_be_asked_is_undecided() {
    let pair = Pair::new(BucketKind::Locked);
    let copies = pair.copy();
    pair.lock_all(&copies);
    let server = pair.second.server();
    let proxy = FaultProxy::start(&server.endpoint);
    let yaml = format!(
        "runpacks:\n  s3:\n    endpoint: {}\n    region: {}\n",
        proxy.endpoint(),
        server.region
    );
    pair.desk.write("second.yaml", yaml);
    let line = format!("{} --replica-config second.yaml", pair.line());
    let denied = || Fault::Answer(Answer::error(403, "AccessDenied"));
    proxy.plan(Rule::new(denied()).method("GET").query("versions").always());
    let report = pair.desk.json(&line, 2);
    assert_eq!(report["verdict"], "undecided");
    assert_eq!(codes(&report), ["replica.not_observed"], "{report}");
    // Not even the head of a version, then its lock alone.
    proxy.clear();
    proxy.plan(
        Rule::new(Fault::Answer(Answer::status(403)))
            .method("HEAD")
            .key_contains("tenant")
            .always(),
    );
    assert_eq!(codes(&pair.desk.json(&line, 2)), ["replica.not_observed"]);
    proxy.clear();
    for header in [
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
    ] {
        let hidden = Fault::SetHeader(header.to_owned(), None);
        proxy.plan(Rule::new(hidden).method("HEAD").always());
    }
    proxy.plan(
        Rule::new(denied())
            .method("GET")
            .query("retention")
            .always(),
    );
    assert_eq!(
        codes(&pair.desk.json(&line, 2)),
        ["replica.lock_not_observed"]
    );
    proxy.clear();
    assert_eq!(pair.desk.json(&line, 0)["verdict"], "kept");
}

#[test]
fn the_same_bucket_is_no_replica() {
    let pair = Pair::new(BucketKind::Locked);
    let refused = pair
        .desk
        .line(&format!("replicas verify @ {RUN} --replica @"))
        .expect(2);
    assert!(refused.err.contains("second bucket"), "{}", refused.err);
    let refused = pair
        .desk
        .line(&format!("replicas verify @ {RUN} --replica file:copies"))
        .expect(2);
    assert!(
        refused.err.contains("s3://BUCKET/PREFIX"),
        "{}",
        refused.err
    );
}
