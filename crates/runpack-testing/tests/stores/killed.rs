//! A server that is killed in the middle of an export and comes back.

use std::sync::{Arc, Mutex};

use runpack_core::pin::Pins;
use runpack_core::verify::{Code, Verdict};
use runpack_testing::block_on;
use runpack_testing::proxy::{Call, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, PrivateCeph};

use super::bucket::{export, impatient, open, verify};

#[test]
fn n02_n05_the_gateway_is_killed_at_each_request_and_comes_back() {
    let ceph = PrivateCeph::start();
    let server = ceph.server().clone();
    let ceph = Arc::new(Mutex::new(ceph));
    let (mut kills, mut acknowledged) = (0, 0);
    block_on(async {
        let bucket = server.bucket(BucketKind::Versioned).await;
        let counting = FaultProxy::start(&server.endpoint);
        export(
            open(bucket.settings_at(&counting.endpoint())).await,
            "first",
            1,
        )
        .await
        .unwrap();
        let requests = u64::try_from(counting.log().len()).unwrap();
        for number in 1..=requests {
            let run_id = format!("killed-{number}");
            let proxy = FaultProxy::start(&server.endpoint);
            let killing = Arc::clone(&ceph);
            let kill = Call::new(move |_| killing.lock().unwrap().kill_gateway());
            let fault = if number % 2 == 0 {
                Fault::CallBefore(kill)
            } else {
                Fault::CallAfter(kill)
            };
            proxy.plan(Rule::new(fault).nth(number));
            let ended = export(
                open(impatient(bucket.settings_at(&proxy.endpoint()))).await,
                &run_id,
                1,
            )
            .await;
            proxy.clear();
            ceph.lock().unwrap().start_gateway();
            kills += 1;
            let direct = open(bucket.settings()).await;
            let report = verify(direct.clone(), &run_id, &Pins::none()).await;
            let is_missing = report
                .findings
                .iter()
                .any(|f| f.code == Code::ManifestMissing);
            match &ended {
                Ok(_) => {
                    acknowledged += 1;
                    assert_eq!(
                        report.verdict,
                        Verdict::Consistent,
                        "{run_id}: {:?}",
                        report.findings
                    );
                }
                Err(_) => assert!(
                    is_missing || report.verdict == Verdict::Consistent,
                    "{report:?}"
                ),
            }
            let again = export(direct.clone(), &run_id, 1).await.unwrap();
            let report = verify(direct, &run_id, &Pins::pack_id(again.pack_id())).await;
            assert_eq!(
                report.verdict,
                Verdict::Valid,
                "{run_id}: {:?}",
                report.findings
            );
        }
    });
    println!(
        "{kills} kills of the gateway, {acknowledged} exports acknowledged all the same, none lost"
    );
}
