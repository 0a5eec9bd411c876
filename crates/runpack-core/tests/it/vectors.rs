//! Every vector of the specification: the same verdict and codes that the second verifier must give.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runpack_core::bundle::verify_bundle;
use runpack_core::directory::PackDirectory;
use runpack_core::pin::Pins;
use runpack_core::sign::{Envelope, VerifyingKey};
use runpack_core::verify::{Level, Pack, VerifyOptions, VerifyReport};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    #[serde(rename = "title")]
    _title: String,
    container: String,
    level: String,
    expect_pack_id: Option<String>,
    expect_tenant: Option<String>,
    expect_namespace: Option<String>,
    expect_scenario: Option<String>,
    expect_run_id: Option<String>,
    receipt_pack_id: Option<String>,
    key: Option<String>,
    signature: Option<String>,
    #[serde(default)]
    limits: VectorLimits,
    verdict: String,
    codes: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct VectorLimits {
    manifest_bytes: Option<u64>,
    json_depth: Option<u32>,
    artifacts: Option<u64>,
    artifact_bytes: Option<u64>,
    pack_bytes: Option<u64>,
    chunks: Option<u64>,
    inputs: Option<u64>,
    labels: Option<u64>,
}

impl Vector {
    fn options(&self) -> VerifyOptions {
        let level = match self.level.as_str() {
            "presence" => Level::Presence,
            "full" => Level::Full,
            "deep" => Level::Deep,
            other => panic!("unknown level {other}"),
        };
        let mut options = VerifyOptions::level(level);
        let (limits, given) = (&mut options.limits, &self.limits);
        let set = |limit: &mut u64, given: Option<u64>| *limit = given.unwrap_or(*limit);
        set(&mut limits.manifest_bytes_max, given.manifest_bytes);
        set(&mut limits.artifacts_max, given.artifacts);
        set(&mut limits.artifact_bytes_max, given.artifact_bytes);
        set(&mut limits.pack_bytes_max, given.pack_bytes);
        set(&mut limits.chunks_max, given.chunks);
        set(&mut limits.inputs_max, given.inputs);
        set(&mut limits.labels_max, given.labels);
        limits.json_depth_max = given.json_depth.unwrap_or(limits.json_depth_max);
        options
    }

    fn pins(&self, case: &Path) -> Pins {
        let mut pins = Pins::none();
        pins.pack_id = self.expect_pack_id.as_ref().map(|id| id.parse().unwrap());
        pins.recorded = self
            .receipt_pack_id
            .iter()
            .map(|id| vec![id.parse().unwrap()])
            .collect();
        pins.identity = [
            ("tenant", &self.expect_tenant),
            ("namespace", &self.expect_namespace),
            ("scenario", &self.expect_scenario),
            ("run_id", &self.expect_run_id),
        ]
        .into_iter()
        .filter_map(|(member, value)| Some((member.to_owned(), value.clone()?)))
        .collect();
        pins.signature = self.key.as_ref().map(|key| {
            let key = fs::read_to_string(case.join(key)).unwrap();
            let key = VerifyingKey::from_pem(&key).unwrap();
            let signature = fs::read(case.join(self.signature.as_ref().unwrap())).unwrap();
            (
                key,
                Envelope::parse(&signature).map_err(|error| error.to_string()),
            )
        });
        pins
    }

    fn verify(&self, case: &Path) -> VerifyReport {
        let (options, pins) = (self.options(), self.pins(case));
        let container = case.join(&self.container);
        if self.container == "pack.tar.gz" {
            let file = fs::File::open(container).unwrap();
            let outcome = verify_bundle(file, &options.limits, options.level);
            return VerifyReport::of_bundle(outcome, |_| pins, options.level);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let directory = Arc::new(PackDirectory::open(&container).unwrap());
            match Pack::open(directory, &options.limits).await {
                Ok(pack) => pack.verify(&pins, &options).await,
                Err(report) => *report,
            }
        })
    }
}

fn cases() -> Vec<PathBuf> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Docs/spec/vectors");
    let entries = fs::read_dir(vectors)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

#[test]
fn every_vector_has_its_verdict_and_codes() {
    let cases = cases();
    let mut wrong = Vec::new();
    let mut must_fail = 0;
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy();
        let text = fs::read_to_string(case.join("vector.json")).unwrap();
        let vector: Vector = serde_json::from_str(&text).unwrap();
        must_fail += usize::from(vector.verdict == "invalid");
        let report = vector.verify(case);
        let codes: BTreeSet<&str> = report
            .findings
            .iter()
            .map(|finding| finding.code.as_str())
            .collect();
        let codes: Vec<&str> = codes.into_iter().collect();
        if report.verdict.as_str() != vector.verdict || codes != vector.codes {
            wrong.push(format!(
                "{name}: expected {} {:?}, found {} {codes:?} {:?}",
                vector.verdict, vector.codes, report.verdict, report.findings
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(
        must_fail >= 100 && cases.len() > must_fail,
        "{must_fail} of {}",
        cases.len()
    );
    println!("{} vectors, {must_fail} of which must fail", cases.len());
}
