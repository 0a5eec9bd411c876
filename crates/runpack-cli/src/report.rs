//! What a verification found, in words: for a terminal ([`text`]) and as a page ([`html`]).

pub mod html;
pub mod text;

use runpack_core::manifest::Subject;
use runpack_core::verify::{Level, Verdict, VerifyReport};

/// What the verdict says and rests on, after its name.
pub fn because(report: &VerifyReport) -> String {
    let content = match report.level {
        Level::Presence => "every artifact is there with its size; contents were not read",
        Level::Full => "every byte is as committed",
        Level::Deep => "every byte is as committed, claimed digests too",
    };
    let pinned = pinned_by(report);
    match (report.verdict, pinned) {
        (Verdict::Valid, Some(pinned)) => {
            format!("{content}, and {pinned} that this is the pack that was made")
        }
        (Verdict::Consistent, Some(pinned)) => {
            format!("{content}, so nothing is proved of them, though {pinned} whose manifest it is")
        }
        (Verdict::Valid | Verdict::Consistent, None) => {
            format!("{content}, but nothing outside the pack says that it is the one that was made")
        }
        (Verdict::Undecided, _) => "something could not be read, so nothing is proved".to_owned(),
        (Verdict::Invalid, _) => {
            let findings = u64::try_from(report.findings.len())
                .unwrap_or(u64::MAX)
                .saturating_add(report.findings_unlisted);
            match findings {
                1 => "this is not what it should be; 1 finding".to_owned(),
                more => format!("this is not what it should be; {more} findings"),
            }
        }
    }
}

/// `the expected pack id and a signature say`, or `None` where nothing does.
fn pinned_by(report: &VerifyReport) -> Option<String> {
    let names: Vec<String> = report.pinned_by.iter().map(ToString::to_string).collect();
    match names.split_last()? {
        (only, []) => Some(format!("{only} says")),
        (last, others) => Some(format!("{} and {last} say", others.join(", "))),
    }
}

/// What to do next; nothing where all is well.
pub fn next_steps(report: &VerifyReport) -> Option<&'static str> {
    let finding = |prefix: &str| {
        report
            .findings
            .iter()
            .any(|finding| finding.code.as_str().starts_with(prefix))
    };
    let only = |code: &str| {
        report
            .findings
            .iter()
            .all(|finding| finding.code.as_str() == code)
    };
    match report.verdict {
        Verdict::Valid => None,
        Verdict::Consistent if !report.pinned_by.is_empty() => {
            Some("verify without --presence to prove the contents")
        }
        Verdict::Consistent => Some(
            "a pack that was rewritten whole would look the same: verify with --expect-pack-id, with --key, or on the \
             machine that exported it, which keeps a receipt",
        ),
        Verdict::Undecided => Some("see why it could not be read, then verify again"),
        Verdict::Invalid if finding("pin.receipt") => Some(
            "this machine saw another pack being exported here: find out who changed it; if you replaced it yourself, \
             move the old receipt away (Docs/cli/README.md, Receipts)",
        ),
        Verdict::Invalid if finding("pin.") => Some(
            "do not rely on this pack: it is not the one you asked for; ask whoever gave you pack id, key or identity",
        ),
        Verdict::Invalid if only("manifest.missing") => Some(
            "check that the path is a pack's own directory or a bundle; a store is written file:ROOT, with whose pack \
             it is; if there was a pack here, its manifest was taken away",
        ),
        Verdict::Invalid if only("container.stranger") => Some(
            "what the manifest lists holds, but something else lies beside it: take it away, or, if the directory is a \
             pack's place in a store, verify the store (file:ROOT), where leftovers of other exports count for nothing",
        ),
        Verdict::Invalid => Some(
            "do not rely on this pack: take another copy and verify that; keep this one if somebody has to find out why",
        ),
    }
}

/// `run acme/prod/loan-approval/run-42`
pub fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            ..
        } => format!("run {tenant}/{namespace}/{scenario}/{run_id}"),
        Subject::Step {
            tenant,
            run_id,
            step_id,
        } => format!("step {tenant}/{run_id}/{step_id}"),
        Subject::Pipeline { tenant, run_id } => format!("pipeline run {tenant}/{run_id}"),
        Subject::Execution { execution_id } => format!("execution {execution_id}"),
        _ => subject_fields(subject),
    }
}

fn subject_fields(subject: &Subject) -> String {
    let fields = subject.fields();
    let values: Vec<&str> = fields.iter().map(|(_, value)| value.as_str()).collect();
    format!("{} {}", subject.kind(), values.join("/"))
}
