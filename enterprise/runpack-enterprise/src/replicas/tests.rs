//! A finding for each way in which a copy is none, and none for a copy that is one.

use runpack_core::key::Location;

use super::*;

fn digest(hex: char) -> Digest {
    hex.to_string().repeat(64).parse().unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rules() -> ReplicaRules {
    ReplicaRules {
        now: time("2026-11-20T12:00:00Z"),
        pending_seconds_max: 900,
    }
}

fn version() -> FoundVersion {
    FoundVersion {
        size: 100,
        bytes: Bytes::Measured(digest('a')),
        lock: FoundLock::Observed {
            retention: Some((LockMode::Compliance, time("2033-11-20T12:00:00Z"))),
            is_held: true,
        },
    }
}

fn good() -> Pair {
    let key = Location::parse("v1/org=acme/project=web/service=api/latest.json").unwrap();
    Pair {
        key: key.key().unwrap(),
        version: "v1".to_owned(),
        written_at: time("2026-11-20T11:00:00Z"),
        status: ReplicationStatus::Completed,
        source: version(),
        replica: AtReplica::Present {
            version: version(),
            above: Above::Nothing,
        },
    }
}

fn after(change: impl FnOnce(&mut Pair)) -> Vec<ReplicaCode> {
    let mut pair = good();
    change(&mut pair);
    judge(&[pair], &rules())
        .into_iter()
        .map(|finding| finding.code)
        .collect()
}

/// After a change of the copy.
fn copy(change: impl FnOnce(&mut FoundVersion)) -> Vec<ReplicaCode> {
    after(|pair| {
        if let AtReplica::Present { version, .. } = &mut pair.replica {
            change(version);
        }
    })
}

fn lock(mode: LockMode, until: &str, is_held: bool) -> FoundLock {
    FoundLock::Observed {
        retention: Some((mode, time(until))),
        is_held,
    }
}

#[test]
fn a_copy_that_is_one() {
    assert_eq!(after(|_| {}), []);
    assert_eq!(
        copy(|copy| copy.bytes = Bytes::ProviderAsserted(digest('a'))),
        []
    );
    assert_eq!(
        copy(|copy| copy.lock = lock(LockMode::Compliance, "2040-01-01T00:00:00Z", true)),
        []
    );
    assert_eq!(judge(&[], &rules()), []);
}

#[test]
fn l12_a_copy_is_locked_no_less_than_its_source() {
    let unlocked = |is_held| FoundLock::Observed {
        retention: None,
        is_held,
    };
    assert_eq!(
        copy(|copy| copy.lock = unlocked(true)),
        [ReplicaCode::Unlocked]
    );
    assert_eq!(
        copy(|copy| copy.lock = unlocked(false)),
        [ReplicaCode::Unlocked, ReplicaCode::HoldMissing]
    );
    assert_eq!(
        copy(|copy| copy.lock = lock(LockMode::Compliance, "2033-11-20T11:59:59Z", true)),
        [ReplicaCode::LockShorter]
    );
    assert_eq!(
        copy(|copy| copy.lock = lock(LockMode::Governance, "2033-11-20T12:00:00Z", true)),
        [ReplicaCode::LockSofter]
    );
    assert_eq!(
        copy(|copy| copy.lock = lock(LockMode::Governance, "2030-01-01T00:00:00Z", false)),
        [
            ReplicaCode::LockShorter,
            ReplicaCode::LockSofter,
            ReplicaCode::HoldMissing
        ]
    );
    assert_eq!(
        copy(|copy| copy.lock = FoundLock::NotObserved),
        [ReplicaCode::LockNotObserved]
    );
    assert_eq!(
        after(|pair| pair.source.lock = FoundLock::NotObserved),
        [ReplicaCode::LockNotObserved]
    );
    // A source without a lock asks for none.
    assert_eq!(after(|pair| pair.source.lock = unlocked(false)), []);
}

#[test]
fn other_bytes_and_bytes_that_nobody_knows() {
    assert_eq!(copy(|copy| copy.size = 99), [ReplicaCode::Differs]);
    assert_eq!(
        copy(|copy| copy.bytes = Bytes::Measured(digest('b'))),
        [ReplicaCode::Differs]
    );
    assert_eq!(
        copy(|copy| copy.bytes = Bytes::ProviderAsserted(digest('b'))),
        [ReplicaCode::Differs]
    );
    assert_eq!(
        copy(|copy| copy.bytes = Bytes::NotObserved),
        [ReplicaCode::BytesNotObserved]
    );
    assert_eq!(
        after(|pair| pair.source.bytes = Bytes::NotObserved),
        [ReplicaCode::BytesNotObserved]
    );
}

#[test]
fn what_the_source_says_is_a_claim() {
    let missing = |status: ReplicationStatus, written_at: &str| {
        after(|pair| {
            pair.status = status;
            pair.written_at = time(written_at);
            pair.replica = AtReplica::Missing;
        })
    };
    let (before, lately) = ("2026-11-20T11:44:59Z", "2026-11-20T11:45:00Z");
    assert_eq!(
        missing(ReplicationStatus::Completed, lately),
        [ReplicaCode::Missing]
    );
    assert_eq!(missing(ReplicationStatus::Pending, lately), []);
    assert_eq!(
        missing(ReplicationStatus::Pending, before),
        [ReplicaCode::PendingLong, ReplicaCode::Missing]
    );
    assert_eq!(
        missing(ReplicationStatus::Pending, "2026-11-20T12:00:01Z"),
        []
    );
    assert_eq!(
        missing(ReplicationStatus::Failed, lately),
        [ReplicaCode::Failed, ReplicaCode::Missing]
    );
    assert_eq!(
        missing(ReplicationStatus::None, lately),
        [ReplicaCode::NotReplicated, ReplicaCode::Missing]
    );
    // It says that it failed, and there is a copy all the same: both stand.
    assert_eq!(
        after(|pair| pair.status = ReplicationStatus::Failed),
        [ReplicaCode::Failed]
    );
    assert_eq!(
        after(|pair| pair.status = ReplicationStatus::Replica),
        [ReplicaCode::SourceIsReplica]
    );
}

#[test]
fn l05_l06_what_lies_over_a_copy_is_seen() {
    for above in [Above::Version, Above::Marker] {
        let found = after(|pair| {
            pair.replica = AtReplica::Present {
                version: version(),
                above,
            }
        });
        assert_eq!(found, [ReplicaCode::Shadowed], "{above:?}");
    }
}

#[test]
fn what_nobody_could_look_at_is_said_and_escaped() {
    let mut pair = good();
    pair.replica = AtReplica::NotObserved {
        why: "Access\nDenied".to_owned(),
    };
    let findings = judge(&[good(), pair], &rules());
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code, ReplicaCode::NotObserved);
    assert!(findings[0].text.ends_with("why=`Access\\nDenied`"));
    assert_eq!(
        serde_json::to_value(&findings[0]).unwrap()["code"],
        "replica.not_observed"
    );
}
