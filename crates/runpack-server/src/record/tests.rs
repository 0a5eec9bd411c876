//! Tests of records over the model of a store; what HTTP adds is tested from outside.

use runpack_core::store::{ArtifactSink as _, MemoryStore};
use runpack_core::time::FixedClock;
use runpack_testing::block_on;

use super::*;

fn body(run_id: &str, artifact: &str) -> Bytes {
    format!(
        r#"{{"organization":"acme","project":"web","service":"api","run_id":"{run_id}","artifact":{artifact},"diff":{{"of":"{run_id}"}},"commit_sha":"{}","generated_at":"2026-11-20T11:00:00Z","metadata":{{"build":"7"}}}}"#,
        "a".repeat(40)
    )
    .into()
}

fn at(time: &str) -> Arc<FixedClock> {
    Arc::new(FixedClock(time.parse().unwrap()))
}

fn records(store: &Arc<MemoryStore>, time: &str) -> Records {
    Records::new(store.clone(), at(time))
}

async fn keep(records: &Records, body: &Bytes) -> Result<Kept, RecordError> {
    let envelope = Envelope::parse(body, records.limits()).unwrap();
    records.keep(&envelope, body, "token:ci").await
}

fn stream() -> Stream {
    Stream {
        organization: "acme".parse().unwrap(),
        project: "web".parse().unwrap(),
        service: "api".parse().unwrap(),
    }
}

#[test]
fn c25_the_same_body_again_is_the_same_record_also_after_midnight_and_at_another_server() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let first = records(&store, "2026-11-20T23:59:59Z");
        let next_day = records(&store, "2026-11-21T00:00:01Z");
        let sent = body("r1", "[1,2.50,1e3]");
        let kept = keep(&first, &sent).await.unwrap();
        assert_eq!(kept.keeping, Keeping::New);
        let again = keep(&next_day, &sent).await.unwrap();
        assert_eq!((again.keeping, again.day), (Keeping::Again, kept.day));
        assert_eq!(again.head, kept.head);
        assert_eq!(
            kept.key.as_str(),
            "v1/org=acme/project=web/service=api/date=2026-11-20/run=r1/payload.json"
        );
        let error = keep(&next_day, &body("r1", "2")).await.unwrap_err();
        assert!(matches!(error, RecordError::Conflict { .. }), "{error}");
        let lenient = next_day.on_conflict(OnConflict::KeepFirst);
        let other = keep(&lenient, &body("r1", "2")).await.unwrap();
        assert_eq!(other.keeping, Keeping::First);
        let stored = lenient
            .read(&stream(), &"r1".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(*stored.body(), sent, "what came is given back as it came");
    });
}

#[test]
fn w02_a_claim_without_a_record_blocks_nobody_and_fixes_the_day() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let dying = records(&store, "2026-11-20T23:59:59Z");
        let now = dying.clock.now();
        dying
            .claim(&stream(), &"r1".parse().unwrap(), Day::of(now))
            .await
            .unwrap();
        let later = records(&store, "2026-11-22T08:00:00Z");
        let kept = keep(&later, &body("r1", "7")).await.unwrap();
        assert_eq!(kept.keeping, Keeping::New);
        assert_eq!(kept.day.to_string(), "2026-11-20");
        assert_eq!(kept.head.received_at.to_string(), "2026-11-22T08:00:00Z");
    });
}

#[test]
fn records_are_listed_in_parts_and_replayed_in_the_order_in_which_they_came() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        for (run, time) in [
            ("b", "2026-11-19T10:00:00Z"),
            ("a", "2026-11-20T12:00:00Z"),
            ("c", "2026-11-20T09:00:00Z"),
            ("d", "2026-11-20T10:00:00Z"),
        ] {
            keep(&records(&store, time), &body(run, "1")).await.unwrap();
        }
        let reading = Arc::new(records(&store, "2026-11-21T00:00:00Z"));
        let days = Days {
            from: "2026-11-01".parse().unwrap(),
            to: "2026-11-30".parse().unwrap(),
        };
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = reading
                .list(&stream(), days, after.as_deref(), 2)
                .await
                .unwrap();
            assert!(page.records.len() <= 2);
            seen.extend(page.records.into_iter().map(|one| one.run_id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["b", "a", "c", "d"]);
        let (day, last, _) = reading.latest(&stream()).await.unwrap();
        assert_eq!(
            (day.to_string().as_str(), last.as_str()),
            ("2026-11-20", "a")
        );
        let replay = Arc::clone(&reading).diffs(stream(), days).unwrap();
        let lines: Vec<_> = futures_util::StreamExt::collect(replay).await;
        let order: Vec<String> = lines
            .into_iter()
            .map(|line| line.unwrap().run_id.to_string())
            .collect();
        assert_eq!(order, ["b", "c", "d", "a"]);
        let old = records(&store, "2027-11-21T00:00:00Z");
        assert_eq!(
            old.latest(&stream()).await.unwrap().1.as_str(),
            "a",
            "long ago too"
        );
    });
}

#[test]
fn helpers_follow_the_records_and_are_rebuilt_from_them_alone() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let writing = records(&store, "2026-11-20T12:00:00Z");
        for run in ["r1", "r2"] {
            keep(&writing, &body(run, "1")).await.unwrap();
        }
        let helpers = Helpers::new(store.clone(), store.clone(), HelperSettings::default());
        let rebuilt = helpers.rebuild(&writing).await.unwrap();
        assert_eq!((rebuilt.services, rebuilt.days, rebuilt.records), (1, 1, 2));
        let daily: ObjectKey = stream()
            .key(RecordObject::Daily {
                day: "2026-11-20".parse().unwrap(),
            })
            .unwrap();
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        let first = text(
            bytes_of(&*store, &daily.clone().into(), 1 << 20)
                .await
                .unwrap(),
        );
        assert_eq!(first.lines().count(), 2);
        keep(&writing, &body("r3", "1")).await.unwrap();
        helpers.rebuild(&writing).await.unwrap();
        let second = text(bytes_of(&*store, &daily.into(), 1 << 20).await.unwrap());
        assert_eq!(second.lines().count(), 3);
        assert!(second.starts_with(&first));
        let latest = stream().key(RecordObject::Latest).unwrap();
        let latest = text(bytes_of(&*store, &latest.into(), 1 << 20).await.unwrap());
        assert!(latest.contains("\"run_id\":\"r3\""), "{latest}");
    });
}

#[test]
fn a_daily_list_that_is_wrong_does_not_say_which_record_is_the_latest() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let early = records(&store, "2026-11-20T12:00:00Z");
        keep(&early, &body("old", "1")).await.unwrap();
        let late = records(&store, "2026-11-20T13:00:00Z");
        keep(&late, &body("new", "1")).await.unwrap();
        let helpers = Helpers::new(store.clone(), store.clone(), HelperSettings::default());
        helpers.rebuild(&late).await.unwrap();
        let daily = stream().key(RecordObject::Daily {
            day: "2026-11-20".parse().unwrap(),
        });
        let daily = daily.unwrap();
        let list = bytes_of(&*store, &daily.clone().into(), 1 << 20).await;
        let list = String::from_utf8(list.unwrap().unwrap()).unwrap();
        for (is, told) in [("12:00:00", "14:00:00"), ("13:00:00", "11:00:00")] {
            let wrong = list.replace(is, told);
            assert_ne!(wrong, list);
            store.tamper(daily.as_str(), Some(wrong.into()));
            assert_eq!(late.latest(&stream()).await.unwrap().1.as_str(), "new");
        }
    });
}

#[test]
fn s01_s09_a_store_that_changes_or_swaps_records_is_found_out() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let writing = records(&store, "2026-11-20T12:00:00Z");
        keep(&writing, &body("r1", "1")).await.unwrap();
        let kept = keep(&writing, &body("r2", "2")).await.unwrap();
        let object = kept.key.clone().into();
        let bytes = Bytes::from(bytes_of(&*store, &object, 1 << 20).await.unwrap().unwrap());
        assert!(Stored::parse(&bytes).is_some());
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            let parsed = Stored::parse(&damaged.into());
            // What the server noted has no digest of its own; the body has.
            assert!(
                parsed.is_none_or(|parsed| *parsed.body() == body("r2", "2")),
                "byte {at}"
            );
        }
        // The record of one run in the place of another.
        let swapped = Arc::new(MemoryStore::new());
        let elsewhere = records(&swapped, "2026-11-20T12:00:00Z");
        let now = elsewhere.clock.now();
        let r1: RunId = "r1".parse().unwrap();
        elsewhere.claim(&stream(), &r1, Day::of(now)).await.unwrap();
        let place = stream()
            .key(RecordObject::Payload {
                day: kept.day,
                run_id: r1.clone(),
            })
            .unwrap();
        swapped
            .put(&place, bytes.clone(), Declared::of(&bytes))
            .await
            .unwrap();
        let error = elsewhere.read(&stream(), &r1).await.unwrap_err();
        assert!(matches!(error, RecordError::Damaged { .. }), "{error}");
    });
}

#[test]
fn c26_c28_c30_envelopes_are_refused_with_the_place_of_what_is_wrong() {
    let limits = RecordLimits::default();
    let good = String::from_utf8(body("r1", "1").to_vec()).unwrap();
    assert!(Envelope::parse(good.as_bytes(), &limits).is_ok());
    let many: Vec<String> = (0..65).map(|n| format!("\"k{n}\":\"v\"")).collect();
    for (from, to, place) in [
        ("\"run_id\":\"r1\"", "\"run_id\":\"../r1\"", "run_id"),
        ("\"run_id\":\"r1\"", "\"run_id\":\"r1\\u0000\"", "run_id"),
        ("\"run_id\":\"r1\"", "\"run_id\":\"ｒ1\"", "run_id"),
        ("\"run_id\":\"r1\"", "\"run_id\":1", "run_id"),
        ("\"acme\"", "\"ac/me\"", "organization"),
        ("\"artifact\":1", "\"artifact\":null", "artifact"),
        ("\"artifact\":1,", "", "."),
        (
            "\"artifact\":1",
            "\"artifact\":{\"a\":1,\"a\":2}",
            "artifact.a",
        ),
        (
            "\"metadata\":{\"build\":\"7\"}",
            "\"metadata\":{\"build\":7}",
            "metadata.build",
        ),
        ("\"build\":\"7\"", &many.join(","), "metadata"),
        ("aaaaaaaa\"", "aaaaaaaA\"", "commit_sha"),
        (
            "2026-11-20T11:00:00Z",
            "2026-11-20T11:00:00.5Z",
            "generated_at",
        ),
        (
            "\"metadata\"",
            "\"received_at\":\"2026-11-20T11:00:00Z\",\"metadata\"",
            "received_at",
        ),
        (
            "\"metadata\"",
            "\"date\":\"2026-11-20\",\"metadata\"",
            "date",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = Envelope::parse(bad.as_bytes(), &limits).unwrap_err();
        assert_eq!(error.path, place, "{bad}: {error}");
    }
}
