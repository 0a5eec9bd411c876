//! A bucket whose answers are changed on the way to the reader: whatever it says, the verdict is never wrongly
//! valid, and whatever does not bear on the bytes does no harm.

use runpack_core::id::PackId;
use runpack_core::pin::Pins;
use runpack_core::store::s3::S3Settings;
use runpack_core::verify::{Verdict, VerifyReport};
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, Server, TestBucket, shared};

use super::bucket::{export, impatient, open, verify};

struct Evidence {
    bucket: TestBucket,
    pack_id: PackId,
}

async fn evidence(server: &Server) -> Evidence {
    let bucket = server.bucket(BucketKind::Plain).await;
    let manifest = export(open(bucket.settings()).await, "run", 1)
        .await
        .unwrap();
    Evidence {
        bucket,
        pack_id: manifest.pack_id(),
    }
}

impl Evidence {
    /// The report of a reader who knows the pack id, through a proxy with these rules.
    async fn report(&self, rules: Vec<Rule>) -> VerifyReport {
        let proxy = FaultProxy::start(&self.bucket.server().endpoint);
        for rule in rules {
            proxy.plan(rule);
        }
        let store = open(impatient(self.bucket.settings_at(&proxy.endpoint()))).await;
        verify(store, "run", &Pins::pack_id(self.pack_id)).await
    }
}

fn get(fault: Fault) -> Rule {
    Rule::new(fault)
        .method("GET")
        .no_query("list-type")
        .no_query("versions")
        .always()
}

/// A change of the bytes of one object is always found.
fn found_out(faults: impl Fn() -> Vec<Fault>) {
    block_on(async {
        let evidence = evidence(&shared(Kind::Ceph)).await;
        let mut tried = 0;
        for key in ["small.log", "middle.bin", "large.bin", "manifest.json"] {
            for fault in faults() {
                let shown = format!("{key} {fault:?}");
                let report = evidence.report(vec![get(fault).key_ends_with(key)]).await;
                assert!(
                    matches!(report.verdict, Verdict::Invalid | Verdict::Undecided),
                    "{shown}: {:?}",
                    report.findings
                );
                assert!(!report.findings.is_empty());
                tried += 1;
            }
        }
        println!("{tried} lies, none believed");
    });
}

#[test]
fn s01_any_bit_flipped_on_the_way() {
    found_out(|| {
        vec![
            Fault::FlipBit(0),
            Fault::FlipBit(777),
            Fault::FlipBit(u64::MAX / 2),
        ]
    });
}

#[test]
fn s02_s03_truncated_and_extended_on_the_way() {
    found_out(|| {
        vec![
            Fault::Truncate(0),
            Fault::Truncate(99),
            Fault::Extend(1),
            Fault::Extend(64 << 20),
        ]
    });
}

#[test]
fn s20_an_error_page_with_status_200() {
    found_out(|| {
        let page = "<html><body>Please log in</body></html>";
        vec![
            Fault::ReplaceBody(page.into()),
            Fault::Answer(Answer::status(200).body(page)),
            Fault::Answer(Answer::error(200, "InternalError")),
        ]
    });
}

#[test]
fn s05_a_stated_size_that_is_a_lie() {
    found_out(|| {
        ["0", "99999999999999", "-1", "x"]
            .map(|text| Fault::ClaimLength(text.to_owned()))
            .into()
    });
}

#[test]
fn s06_a_content_encoding_is_never_undone() {
    found_out(|| {
        vec![Fault::SetHeader(
            "Content-Encoding".to_owned(),
            Some("gzip".to_owned()),
        )]
    });
}

#[test]
fn s04_n06_bytes_that_come_too_slowly_or_not_at_all() {
    block_on(async {
        let evidence = evidence(&shared(Kind::MiniStack)).await;
        for fault in [
            Fault::Stall,
            Fault::StallInResponseBody(10),
            Fault::DripResponseBody(10),
        ] {
            let shown = format!("{fault:?}");
            let report = evidence
                .report(vec![get(fault).key_ends_with("large.bin")])
                .await;
            assert_eq!(
                report.verdict,
                Verdict::Undecided,
                "{shown}: {:?}",
                report.findings
            );
        }
    });
}

#[test]
fn s07_two_artifacts_swapped() {
    block_on(async {
        // This server checks no signature, so the proxy can ask for another object.
        let evidence = evidence(&shared(Kind::MiniStack)).await;
        let listed = evidence.bucket.list_raw().await;
        let path = |name: &str| {
            listed
                .iter()
                .find(|key| key.ends_with(name))
                .unwrap()
                .clone()
        };
        let swap = Fault::Swap(path("small.log"), path("middle.bin"));
        let report = evidence.report(vec![get(swap)]).await;
        assert_eq!(report.verdict, Verdict::Invalid, "{:?}", report.findings);
        assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
    });
}

#[test]
fn s10_n07_an_older_manifest_is_served() {
    block_on(async {
        let server = shared(Kind::Ceph);
        let bucket = server.bucket(BucketKind::Plain).await;
        let direct = open(bucket.settings()).await;
        let old = export(direct.clone(), "run", 1).await.unwrap();
        let names = bucket.list_raw().await;
        let manifest = names
            .iter()
            .find(|name| name.ends_with("/manifest.json"))
            .unwrap();
        let old_bytes = bucket.read_raw(manifest).await.unwrap();
        bucket.delete_raw(manifest).await;
        let new = export(direct.clone(), "run", 2).await.unwrap();
        assert_ne!(old.pack_id(), new.pack_id());
        bucket.put_raw(manifest, old_bytes).await;
        // Without a pin it is consistent; whoever knows the newer pack is not taken in.
        let unpinned = verify(direct.clone(), "run", &Pins::none()).await;
        assert_eq!(unpinned.verdict, Verdict::Consistent);
        let pinned = verify(direct, "run", &Pins::pack_id(new.pack_id())).await;
        assert_eq!(pinned.verdict, Verdict::Invalid, "{:?}", pinned.findings);
    });
}

#[test]
fn s11_p09_hidden_from_listings_is_still_found() {
    block_on(async {
        let evidence = evidence(&shared(Kind::Ceph)).await;
        let hide = |what: &str| Rule::new(Fault::HideFromListing(what.to_owned())).always();
        for what in ["small.log", "large.bin", "tenant/"] {
            let report = evidence.report(vec![hide(what).query("list-type")]).await;
            assert_eq!(
                report.verdict,
                Verdict::Valid,
                "{what}: {:?}",
                report.findings
            );
        }
        // Hidden from the list of versions, the manifest is not there: never "empty but fine".
        let report = evidence
            .report(vec![hide("manifest.json").query("versions")])
            .await;
        assert_ne!(report.verdict, Verdict::Valid);
    });
}

#[test]
fn s18_p06_what_the_store_says_beside_the_bytes_bears_on_nothing() {
    block_on(async {
        let evidence = evidence(&shared(Kind::Ceph)).await;
        for (name, value) in [
            ("ETag", Some("\"d41d8cd98f00b204e9800998ecf8427e\"")),
            ("ETag", None),
            ("Last-Modified", Some("Thu, 01 Jan 1970 00:00:00 GMT")),
            ("x-amz-meta-runpack-pack-id", Some("sha256:0")),
            ("x-amz-checksum-sha256", Some("AAAA")),
            ("x-amz-checksum-sha256", None),
            ("Content-Type", Some("application/x-whatever")),
        ] {
            let fault = Fault::SetHeader(name.to_owned(), value.map(str::to_owned));
            let report = evidence.report(vec![get(fault)]).await;
            assert_eq!(
                report.verdict,
                Verdict::Valid,
                "{name} {value:?}: {:?}",
                report.findings
            );
        }
    });
}

#[test]
fn s14_artifacts_that_are_gone_are_all_named() {
    block_on(async {
        let evidence = evidence(&shared(Kind::Ceph)).await;
        for name in evidence.bucket.list_raw().await {
            if name.ends_with("small.log") || name.ends_with("large.bin") {
                evidence.bucket.delete_raw(&name).await;
            }
        }
        let report = evidence.report(Vec::new()).await;
        assert_eq!(report.verdict, Verdict::Invalid);
        assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
    });
}

#[test]
fn s23_the_bucket_of_another_owner_is_refused() {
    block_on(async {
        let evidence = evidence(&shared(Kind::Moto)).await;
        let mut settings: S3Settings = evidence.bucket.settings();
        settings.expected_owner = Some("999999999999".to_owned());
        let proxy = FaultProxy::start(&evidence.bucket.server().endpoint);
        settings.endpoint = Some(proxy.endpoint().parse().unwrap());
        let store = open(settings).await;
        let _ = verify(store, "run", &Pins::none()).await;
        let log = proxy.log();
        assert!(!log.is_empty());
        for exchange in log {
            let owner = exchange.header("x-amz-expected-bucket-owner");
            assert_eq!(owner, Some("999999999999"), "{exchange:?}");
        }
    });
}

#[test]
fn s08_s09_another_runs_pack_in_this_ones_place() {
    block_on(async {
        let evidence = evidence(&shared(Kind::Ceph)).await;
        let direct = open(evidence.bucket.settings()).await;
        export(direct.clone(), "other", 2).await.unwrap();
        let names = evidence.bucket.list_raw().await;
        let find = |run: &str| {
            let part = format!("/run/{run}/");
            let is = |name: &&String| name.contains(&part) && name.ends_with("/manifest.json");
            names.iter().find(is).unwrap().clone()
        };
        let foreign = evidence.bucket.read_raw(&find("other")).await.unwrap();
        evidence.bucket.put_raw(&find("run"), foreign).await;
        let report = verify(direct, "run", &Pins::none()).await;
        assert_eq!(report.verdict, Verdict::Invalid, "{:?}", report.findings);
    });
}
