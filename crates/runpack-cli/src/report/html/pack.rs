//! The tables of a report's page: identity, findings, artifacts.

use std::collections::BTreeMap;

use runpack_core::manifest::{Artifact, Manifest};
use runpack_core::verify::{Code, Finding, Level, VerifyReport};

use super::{Body, capital, code, escape};
use crate::report::subject;
use crate::table::{count, grouped, size};

pub(super) fn identity(body: &mut Body<'_>, report: &VerifyReport, manifest: &Manifest) {
    add!(body, "<section><h2>The pack</h2>\n<dl>\n");
    for (name, value) in facts(report, manifest) {
        add!(
            body,
            "<div><dt>{}</dt><dd>{value}</dd></div>\n",
            escape(&name)
        );
    }
    add!(body, "</dl></section>\n");
}

/// Names, and values as HTML.
fn facts(report: &VerifyReport, manifest: &Manifest) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut facts = vec![
        fact("Pack id", code(&manifest.pack_id().to_string())),
        fact("Subject", escape(&subject(manifest.subject()))),
    ];
    facts.extend(identity_fields(manifest));
    let producer = manifest.producer();
    facts.push(fact(
        "Created",
        format!(
            "{} by {} {} <span class=\"aside\">(as the pack says)</span>",
            manifest.created_at(),
            escape(producer.name.as_str()),
            escape(producer.version.as_str())
        ),
    ));
    facts.push(fact(
        "Artifacts",
        format!(
            "{}, {} ({} bytes)",
            count(artifact_count(manifest), "artifact"),
            size(manifest.artifact_bytes()),
            grouped(manifest.artifact_bytes())
        ),
    ));
    facts.push(fact(
        "Checked",
        format!(
            "level {}: {} proven, {} read",
            report.level.as_str(),
            count(report.artifacts_proven, "artifact"),
            size(report.bytes_read)
        ),
    ));
    let pinned: Vec<String> = report.pinned_by.iter().map(ToString::to_string).collect();
    let rests_on = if pinned.is_empty() {
        "nothing outside the pack".to_owned()
    } else {
        pinned.join(", ")
    };
    facts.push(fact("Vouched for by", rests_on));
    for (key, value) in manifest.labels() {
        facts.push((format!("Label {key}"), escape(value.as_str())));
    }
    facts
}

/// From whose it is to which one it is.
fn identity_fields(manifest: &Manifest) -> Vec<(String, String)> {
    const ORDER: [&str; 5] = ["tenant", "namespace", "scenario", "run_id", "step_id"];
    let mut fields = manifest.subject().fields();
    fields.sort_by_key(|(member, _)| {
        ORDER
            .iter()
            .position(|known| known == member)
            .unwrap_or(ORDER.len())
    });
    fields
        .into_iter()
        .map(|(member, value)| (capital(&member.replace('_', " ")), code(&value)))
        .collect()
}

fn artifact_count(manifest: &Manifest) -> u64 {
    u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX)
}

pub(super) fn findings(body: &mut Body<'_>, report: &VerifyReport) {
    if report.findings.is_empty() {
        return;
    }
    add!(
        body,
        "<section><h2>Findings</h2>\n<table class=\"findings\"><thead><tr><th>Code</th><th>About</th>\
         <th>What was found</th></tr></thead><tbody>\n"
    );
    for finding in &report.findings {
        let about = finding
            .about
            .as_deref()
            .map_or_else(|| "the pack".to_owned(), code);
        add!(
            body,
            "<tr><td>{}</td><td>{about}</td><td>{}{}</td></tr>\n",
            code(finding.code.as_str()),
            escape(&finding.detail),
            damaged(finding)
        );
    }
    add!(body, "</tbody></table>\n");
    if report.findings_unlisted > 0 {
        add!(
            body,
            "<p>And {} more.</p>\n",
            grouped(report.findings_unlisted)
        );
    }
    add!(body, "</section>\n");
}

fn damaged(finding: &Finding) -> String {
    if finding.damaged_chunks.is_empty() {
        return String::new();
    }
    let chunks: Vec<String> = finding
        .damaged_chunks
        .iter()
        .map(ToString::to_string)
        .collect();
    format!(
        "<br>Damaged chunks of 8 MiB, counted from 0: {}",
        chunks.join(", ")
    )
}

pub(super) fn artifacts(body: &mut Body<'_>, report: &VerifyReport, manifest: &Manifest) {
    let states = States::of(report, manifest);
    add!(
        body,
        "<section><h2>Artifacts</h2>\n<table class=\"artifacts\"><thead><tr><th>Name</th><th>Kind</th>\
         <th class=\"number\">Bytes</th><th>Commitment</th><th>Status</th></tr></thead><tbody>\n"
    );
    for artifact in manifest.artifacts() {
        row(body, artifact, states.get(artifact));
    }
    add!(body, "</tbody></table></section>\n");
}

/// What is known of each artifact.
struct States<'a> {
    faults: BTreeMap<&'a str, Code>,
    /// Of those without a finding, as `(class, words)`.
    others: (&'static str, &'static str),
}

impl<'a> States<'a> {
    fn of(report: &'a VerifyReport, manifest: &Manifest) -> Self {
        let faults: BTreeMap<&str, Code> = report
            .findings
            .iter()
            .filter_map(|finding| Some((finding.about.as_deref()?, finding.code)))
            .filter(|(about, _)| manifest.artifact(about).is_some())
            .collect();
        let named = u64::try_from(faults.len()).unwrap_or(u64::MAX);
        let accounted = report.artifacts_proven.saturating_add(named);
        let others = if report.level == Level::Presence {
            ("open", "there, not read")
        } else if accounted == artifact_count(manifest) {
            ("good", "as committed")
        } else {
            // The pass broke off, or not all findings are listed: which ones hold is not known here.
            ("open", "not established")
        };
        Self { faults, others }
    }

    fn get(&self, artifact: &Artifact) -> (&'static str, &'static str) {
        match self.faults.get(artifact.name().as_str()) {
            Some(code) if code.is_undecided() => ("open", "could not be read"),
            Some(Code::ArtifactMissing) => ("bad", "missing"),
            Some(Code::ArtifactSize) => ("bad", "of another size"),
            Some(Code::ArtifactType) => ("bad", "not a regular file"),
            Some(Code::ArtifactClaimed) => ("bad", "claimed digest is wrong"),
            Some(_) => ("bad", "damaged"),
            None => self.others,
        }
    }
}

fn row(body: &mut Body<'_>, artifact: &Artifact, (class, status): (&str, &str)) {
    add!(body, "<tr><td>{}", code(artifact.name().as_str()));
    if let Some(title) = artifact.title() {
        add!(
            body,
            "<br><span class=\"aside\">originally {}</span>",
            escape(title)
        );
    }
    if let Some(step) = artifact.step() {
        add!(
            body,
            "<br><span class=\"aside\">made by step {}</span>",
            escape(step.as_str())
        );
    }
    add!(
        body,
        "</td><td>{}<br><span class=\"aside\">{}</span></td><td class=\"number\">{}</td>\
         <td><code class=\"digest\">{}</code></td><td class=\"status {class}\">{status}</td></tr>\n",
        escape(artifact.kind().as_str()),
        escape(artifact.media_type().as_str()),
        grouped(artifact.bytes()),
        artifact.commitment()
    );
}
