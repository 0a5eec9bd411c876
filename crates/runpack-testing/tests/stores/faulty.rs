//! An export through a proxy that fails at every request in turn, and in every way that a network has.
//!
//! After each fault: what was acknowledged is there and verifies, what was not is not there or whole, nothing is
//! ever wrongly valid, and a second export over a sound line completes.

use runpack_core::pin::Pins;
use runpack_core::verify::{Code, Verdict};
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};

use super::bucket::{export, impatient, open, verify};

/// How the exports of one kind of fault ended.
#[derive(Debug, Default)]
struct Ends {
    exports: u32,
    acknowledged: u32,
    refused: u32,
    /// Not acknowledged, and there all the same: the answer to the last write was lost.
    there_all_the_same: u32,
}

/// One export through the proxy, and what must hold after it.
async fn one(bucket: &TestBucket, proxy: &FaultProxy, run_id: &str, ends: &mut Ends) {
    let through = open(impatient(bucket.settings_at(&proxy.endpoint()))).await;
    let ended = export(through, run_id, 1).await;
    proxy.clear();
    let direct = open(bucket.settings()).await;
    ends.exports += 1;
    if let Ok(manifest) = &ended {
        ends.acknowledged += 1;
        let pins = Pins::pack_id(manifest.pack_id());
        let report = verify(direct.clone(), run_id, &pins).await;
        assert_eq!(
            report.verdict,
            Verdict::Valid,
            "{run_id}: {:?}",
            report.findings
        );
    } else {
        ends.refused += 1;
        let report = verify(direct.clone(), run_id, &Pins::none()).await;
        let is_missing = report
            .findings
            .iter()
            .any(|f| f.code == Code::ManifestMissing);
        ends.there_all_the_same += u32::from(!is_missing);
        assert!(
            is_missing || report.verdict == Verdict::Consistent,
            "{run_id}: {report:?}"
        );
    }
    let again = export(direct.clone(), run_id, 1).await.unwrap();
    if let Ok(first) = ended {
        assert_eq!(first.pack_id(), again.pack_id(), "{run_id}");
    }
    let report = verify(direct, run_id, &Pins::pack_id(again.pack_id())).await;
    assert_eq!(
        report.verdict,
        Verdict::Valid,
        "{run_id}: {:?}",
        report.findings
    );
}

/// How many requests an undisturbed export makes.
async fn requests_of_an_export(bucket: &TestBucket) -> u64 {
    let proxy = FaultProxy::start(&bucket.server().endpoint);
    let store = open(bucket.settings_at(&proxy.endpoint())).await;
    export(store, "undisturbed", 1).await.unwrap();
    u64::try_from(proxy.log().len()).unwrap()
}

/// The fault at every request in turn, for `times` requests from there on.
fn at_every_request(kind: Kind, times: u64, fault: impl Fn() -> Fault) {
    let name = fault().name();
    let (requests, ends) = block_on(async {
        let bucket = shared(kind).bucket(BucketKind::Plain).await;
        let requests = requests_of_an_export(&bucket).await;
        let mut ends = Ends::default();
        for number in 1..=requests {
            let proxy = FaultProxy::start(&bucket.server().endpoint);
            proxy.plan(Rule::new(fault()).nth(number).times(times));
            one(&bucket, &proxy, &format!("{name}-{number}"), &mut ends).await;
        }
        (requests, ends)
    });
    println!("{kind:?}, {name} x {times} at each of {requests} requests: {ends:?}");
    assert!(
        times > 1 || ends.acknowledged == ends.exports,
        "one fault is overcome: {ends:?}"
    );
}

#[test]
fn n02_a_reset_before_each_request() {
    at_every_request(Kind::Ceph, 1, || Fault::ResetBeforeRequest);
}

#[test]
fn n02_a_reset_in_the_head_of_each_request() {
    at_every_request(Kind::Ceph, 1, || Fault::ResetInRequestHead(40));
}

#[test]
fn n02_a_reset_in_the_body_of_each_request() {
    at_every_request(Kind::Ceph, 1, || Fault::ResetInRequestBody(60));
}

#[test]
fn n05_w10_the_answer_to_each_request_is_lost() {
    at_every_request(Kind::Ceph, 1, || Fault::LoseResponse);
}

#[test]
fn n02_n05_a_reset_in_the_head_of_each_answer() {
    at_every_request(Kind::Ceph, 1, || Fault::ResetInResponseHead(20));
}

#[test]
fn n02_a_reset_in_the_body_of_each_answer() {
    at_every_request(Kind::Ceph, 1, || Fault::ResetInResponseBody(10));
}

#[test]
fn n04_each_request_is_delivered_twice() {
    at_every_request(Kind::Ceph, 1, || Fault::Duplicate);
}

#[test]
fn n03_each_request_is_asked_to_slow_down() {
    at_every_request(Kind::Ceph, 1, || Fault::Answer(Answer::slow_down(1)));
}

#[test]
fn n06_each_request_is_never_answered() {
    at_every_request(Kind::MiniStack, 1, || Fault::Stall);
}

#[test]
fn n02_n05_a_line_that_goes_down_for_good_at_each_request() {
    at_every_request(Kind::MiniStack, u64::MAX, || Fault::ResetBeforeRequest);
}

#[test]
fn n05_w10_a_line_that_loses_every_answer_from_each_request_on() {
    at_every_request(Kind::MiniStack, u64::MAX, || Fault::LoseResponse);
}

#[test]
fn n03_a_storm_of_slow_down_from_each_request_on() {
    at_every_request(Kind::MiniStack, u64::MAX, || {
        Fault::Answer(Answer::error(503, "SlowDown"))
    });
}

#[test]
fn n08_credentials_run_out_at_each_request() {
    at_every_request(Kind::MiniStack, u64::MAX, || {
        Fault::Answer(Answer::error(400, "ExpiredToken"))
    });
}

#[test]
fn p10_a_clock_that_is_off_at_each_request() {
    at_every_request(Kind::MiniStack, u64::MAX, || {
        Fault::Answer(Answer::error(403, "RequestTimeTooSkewed"))
    });
}

#[test]
fn w11_a_conflict_that_passes_at_each_write() {
    let ends = block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let mut ends = Ends::default();
        let conflict = || Fault::Answer(Answer::error(409, "ConditionalRequestConflict"));
        for number in 1..=3 {
            let proxy = FaultProxy::start(&bucket.server().endpoint);
            proxy.plan(Rule::new(conflict()).put_object().nth(number));
            one(&bucket, &proxy, &format!("put-{number}"), &mut ends).await;
        }
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        proxy.plan(Rule::new(conflict()).complete_upload());
        one(&bucket, &proxy, "complete", &mut ends).await;
        assert_eq!(
            bucket.uploads_raw().await,
            [],
            "an upload that nobody completes is left"
        );
        ends
    });
    assert_eq!(ends.acknowledged, 4, "{ends:?}");
}

#[test]
fn w13_a_completion_that_answers_200_with_an_error() {
    let ends = block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let mut ends = Ends::default();
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        let mut answer = Answer::error(200, "InternalError");
        answer.status = 200;
        proxy.plan(Rule::new(Fault::Answer(answer)).complete_upload().always());
        one(&bucket, &proxy, "complete", &mut ends).await;
        ends
    });
    assert_eq!((ends.refused, ends.there_all_the_same), (1, 0), "{ends:?}");
}

#[test]
fn s22_a_redirect_is_not_followed() {
    let ends = block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let elsewhere = FaultProxy::start(&bucket.server().endpoint);
        let mut ends = Ends::default();
        for status in [301, 302, 307, 308] {
            let proxy = FaultProxy::start(&bucket.server().endpoint);
            let answer = Answer::error(status, "TemporaryRedirect")
                .header("Location", &format!("{}/elsewhere", elsewhere.endpoint()));
            proxy.plan(Rule::new(Fault::Answer(answer)).put_object().always());
            one(&bucket, &proxy, &format!("redirect-{status}"), &mut ends).await;
        }
        assert_eq!(elsewhere.log(), []);
        ends
    });
    assert_eq!((ends.refused, ends.there_all_the_same), (4, 0), "{ends:?}");
}

#[test]
fn w12_a_second_export_sends_nothing_twice_that_is_there() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        let is_manifest = |rule: Rule| rule.key_ends_with("/manifest.json");
        proxy.plan(
            is_manifest(Rule::new(Fault::Answer(Answer::error(403, "AccessDenied"))).put_object())
                .always(),
        );
        let through = || async { open(impatient(bucket.settings_at(&proxy.endpoint()))).await };
        assert!(export(through().await, "crashed", 1).await.is_err());
        proxy.clear();
        proxy.clear_log();
        export(through().await, "crashed", 1).await.unwrap();
        let sent: Vec<_> = proxy
            .log()
            .into_iter()
            .filter(|e| e.bytes > 0 && e.method == "PUT")
            .collect();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        assert!(sent[0].path.ends_with("/manifest.json"));
    });
}
