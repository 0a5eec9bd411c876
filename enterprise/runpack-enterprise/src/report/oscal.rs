//! The report as OSCAL assessment results, version 1.1.3.
//!
//! Each control is an observation; only what came out as met or not met is a finding, because OSCAL knows
//! no third state. Ids are version 4 in form and follow from the attestation, so that the same report
//! has the same bytes.

use std::fmt::Write as _;

use runpack_core::attestation::Basis;
use runpack_core::digest::Digest;
use serde_json::{Value, json};

use super::{Control, Outcome, Report, TimeBasis};

const VERSION: &str = "1.1.3";
const NAMESPACE: &str = "urn:runpack:oscal";

/// The document.
pub(super) fn document(report: &Report) -> Value {
    let id = |part: &str| uuid(report, part);
    let at = report.observed_at.to_string();
    let observations: Vec<_> = report
        .controls
        .iter()
        .map(|control| observation(report, control))
        .collect();
    let findings: Vec<_> = report
        .controls
        .iter()
        .filter_map(|control| finding(report, control))
        .collect();
    let included: Vec<_> = report
        .controls
        .iter()
        .map(|control| json!({"control-id": control.token}))
        .collect();
    let mut result = json!({
        "uuid": id("result"),
        "title": report.title,
        "description": format!(
            "What an attestation of {} objects shows by these rules. {}",
            report.objects,
            report.non_claims.join(" ")
        ),
        "start": at,
        "props": [property("protection", report.protection), property("time-basis", match report.observed_at_basis {
            TimeBasis::ClaimedBySigner => "claimed-by-signer",
            TimeBasis::TimeStamped => "time-stamped",
        })],
        "reviewed-controls": {"control-selections": [{"include-controls": included}]},
        "observations": observations,
    });
    // An array of the format has at least one item.
    if let (false, Some(result)) = (findings.is_empty(), result.as_object_mut()) {
        result.insert("findings".to_owned(), findings.into());
    }
    json!({"assessment-results": {
        "uuid": id("document"),
        "metadata": {
            "title": format!("Storage of {}: {}", report.pack_id, report.title),
            "last-modified": at,
            "version": report.nonce,
            "oscal-version": VERSION,
        },
        "import-ap": {"href": format!("#{}", id("plan"))},
        "results": [result],
        "back-matter": {"resources": [
            {
                "uuid": id("plan"),
                "title": "Assessment plan",
                "description": "There is no plan beside this: each control is computed from the attestation.",
            },
            {
                "uuid": id("attestation"),
                "title": "Attestation urn:runpack:storage-retention:v1",
                "description": format!(
                    "In-toto statement about {}, signed by the key with SHA-256 {}.",
                    report.pack_id, report.key_id
                ),
            },
        ]},
    }})
}

fn observation(report: &Report, control: &Control) -> Value {
    let method = match control.basis {
        Basis::Measured => "TEST",
        Basis::ProviderAsserted | Basis::Configured | Basis::NotObserved => "EXAMINE",
    };
    let mut evidence: Vec<_> = control
        .evidence
        .iter()
        .map(|pointer| {
            json!({
                "href": format!("#{}", uuid(report, "attestation")),
                "description": format!("The place in the predicate: {pointer}"),
            })
        })
        .collect();
    if evidence.is_empty() {
        evidence.push(json!({"description": "None: the attestation does not say."}));
    }
    json!({
        "uuid": uuid(report, &format!("observation {}", control.token)),
        "title": control.id,
        "description": control.assessment,
        "props": [
            property("result", &control.result.as_str().replace(' ', "-")),
            property("basis", control.basis.as_str()),
        ],
        "methods": [method],
        "collected": report.observed_at.to_string(),
        "relevant-evidence": evidence,
    })
}

fn finding(report: &Report, control: &Control) -> Option<Value> {
    let state = match control.result {
        Outcome::Met => "satisfied",
        Outcome::NotMet => "not-satisfied",
        Outcome::NotObserved | Outcome::NotApplicable => return None,
    };
    Some(json!({
        "uuid": uuid(report, &format!("finding {}", control.token)),
        "title": control.id,
        "description": control.requirement,
        "target": {
            "type": "objective-id",
            "target-id": control.token,
            "status": {"state": state},
        },
        "related-observations": [
            {"observation-uuid": uuid(report, &format!("observation {}", control.token))},
        ],
    }))
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": name, "ns": NAMESPACE, "value": value})
}

/// A UUID of version 4 in form (RFC 9562), from what it stands for.
fn uuid(report: &Report, part: &str) -> String {
    let seed = format!(
        "{}\n{}\n{}\n{part}",
        report.nonce, report.pack_id, report.title
    );
    let digest = Digest::of(seed.as_bytes());
    let mut text = String::new();
    for (index, byte) in digest.as_bytes().iter().take(16).enumerate() {
        let byte = match index {
            6 => 0x40 | (byte & 0x0f),
            8 => 0x80 | (byte & 0x3f),
            _ => *byte,
        };
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        // Text takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
