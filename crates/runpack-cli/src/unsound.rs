//! A pack whose manifest is not sound, as an error of commands that need one.

use runpack_core::verify::{Verdict, VerifyReport};

use crate::failure::{Exit, Failure};

/// Why there is no pack to work on.
pub(crate) fn failure(report: &VerifyReport) -> Failure {
    let details = report
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.code, finding.detail))
        .collect();
    let (message, exit) = if report.verdict == Verdict::Undecided {
        ("the manifest could not be read", Exit::Trouble)
    } else {
        (
            "this is no pack: its manifest is missing or not sound",
            Exit::Invalid,
        )
    };
    Failure::new(
        message,
        "check the path; `runpack verify` says more about a pack",
    )
    .with_details(details)
    .with_exit(exit)
}

/// A pack that does not verify is not `done`: pushed, signed.
pub(crate) fn not_done(report: &VerifyReport, done: &str) -> Failure {
    let details = report
        .findings
        .iter()
        .map(|finding| match &finding.about {
            Some(about) => format!("{}  {about}: {}", finding.code, finding.detail),
            None => format!("{}: {}", finding.code, finding.detail),
        })
        .collect();
    Failure::new(
        format!("a pack that does not verify is not {done}"),
        "take another copy of it, or export again; `runpack verify` says more",
    )
    .with_details(details)
    .with_exit(crate::check::exit_of(report.verdict, false))
}

/// A store shows the manifest of another subject than was asked for.
pub(crate) fn of_another_subject() -> Failure {
    Failure::new(
        "the manifest in this place of the store is of another subject",
        "do not rely on what is there; `runpack verify` says more",
    )
    .with_exit(Exit::Invalid)
}
