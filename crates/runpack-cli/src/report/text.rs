//! A report for a terminal: the verdict first, then what it is about, then what is wrong.

use runpack_core::manifest::{Manifest, Subject};
use runpack_core::verify::{Finding, Verdict, VerifyReport};

use super::{because, next_steps, subject};
use crate::output::{Output, Tone};
use crate::table::{fields, grouped, safe, size};

/// The report as text.
pub fn render(report: &VerifyReport, output: &Output) -> String {
    let mut text = verdict_line(report, output);
    if let Some(manifest) = &report.manifest {
        text.push('\n');
        text.push_str(&fields(&facts(report, manifest)));
    }
    if !report.findings.is_empty() {
        add!(text, "\n{}\n", output.tone(Tone::Strong, "findings"));
        report
            .findings
            .iter()
            .for_each(|finding| text.push_str(&finding_lines(finding)));
        if report.findings_unlisted > 0 {
            add!(text, "  and {} more\n", grouped(report.findings_unlisted));
        }
    }
    if !report.notes.is_empty() {
        add!(text, "\n{}\n", output.tone(Tone::Strong, "notes"));
        report
            .notes
            .iter()
            .for_each(|note| add!(text, "  {}\n", safe(note)));
    }
    if let Some(next) = next_steps(report) {
        add!(text, "\n{} {next}\n", output.tone(Tone::Strong, "next:"));
    }
    text
}

/// `valid: every byte is as committed, ...`
pub fn verdict_line(report: &VerifyReport, output: &Output) -> String {
    format!("{}: {}\n", verdict(report.verdict, output), because(report))
}

/// The name of a verdict, in its colour.
pub(crate) fn verdict(verdict: Verdict, output: &Output) -> String {
    let tone = match verdict {
        Verdict::Valid => Tone::Good,
        Verdict::Invalid => Tone::Bad,
        Verdict::Consistent | Verdict::Undecided => Tone::Open,
    };
    output.tone(tone, verdict.as_str())
}

fn facts(report: &VerifyReport, manifest: &Manifest) -> Vec<(&'static str, String)> {
    let artifacts = u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX);
    let proven = match report.artifacts_proven {
        0 => "none proven".to_owned(),
        all if all == artifacts => "all proven".to_owned(),
        some => format!("{} proven", grouped(some)),
    };
    let mut facts = about(manifest);
    facts.push((
        "artifacts",
        format!(
            "{}, {}, {proven}",
            grouped(artifacts),
            size(manifest.artifact_bytes())
        ),
    ));
    facts.push(("level", report.level.as_str().to_owned()));
    facts
}

/// What a manifest says of itself.
pub fn about(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let producer = manifest.producer();
    let mut about = vec![
        ("pack id", manifest.pack_id().to_string()),
        ("subject", subject(manifest.subject())),
    ];
    if let Subject::Run { spec_hash, .. } = manifest.subject() {
        let by = manifest.spec().map_or_else(
            || " (not in the pack)".to_owned(),
            |spec| format!(" ({})", spec.name()),
        );
        about.push(("spec", format!("{spec_hash}{by}")));
    }
    about.push((
        "created",
        format!(
            "{} by {} {} (as they say)",
            manifest.created_at(),
            producer.name,
            safe(producer.version.as_str())
        ),
    ));
    for (key, value) in manifest.labels() {
        about.push(("label", format!("{key}={}", safe(value.as_str()))));
    }
    about
}

/// A finding, indented.
pub(crate) fn finding_lines(finding: &Finding) -> String {
    let about = finding
        .about
        .as_deref()
        .map_or_else(String::new, |about| format!("  {}", safe(about)));
    let mut lines = format!(
        "  {}{about}\n      {}\n",
        finding.code,
        safe(&finding.detail)
    );
    if !finding.damaged_chunks.is_empty() {
        let chunks: Vec<String> = finding
            .damaged_chunks
            .iter()
            .map(ToString::to_string)
            .collect();
        add!(
            lines,
            "      damaged chunks of 8 MiB, counted from 0: {}\n",
            chunks.join(", ")
        );
    }
    lines
}
