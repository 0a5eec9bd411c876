//! `policy lint`: what could still remove evidence from a bucket, by what the bucket says of itself now.

use std::path::{Path, PathBuf};

use clap::Args;
use runpack_cli::file::read_capped;
use runpack_cli::output::{Format, Tone};
use runpack_cli::storage::{Access, Storage, StoreAddress, parse_store};
use runpack_cli::table::{count, fields, safe};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_enterprise::audit::Outcome;
use runpack_enterprise::facts;
use runpack_enterprise::policy::{Basis, Dialect, LintFinding, Observed, Severity, lint};
use runpack_enterprise::retention::RetainFor;
use runpack_enterprise::terms::RetainUntil;
use serde_json::json;

use super::{RoleOptions, Server, bucket, no_bucket};
use crate::desk::Desk;

/// See what could still remove evidence from a bucket, or lose it
///
/// The bucket is asked for its policy, versioning, lock, lifecycle, replication, encryption, public access and logging.
/// What it does not tell is a finding, and never clean. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PolicyLint {
    /// The bucket: s3://BUCKET/PREFIX [default: the one that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// Whose server it is [default: aws, where the endpoint is Amazon's]
    #[arg(long, value_name = "SERVER")]
    dialect: Option<Server>,
    #[command(flatten)]
    roles: RoleOptions,
    /// Judge the policy in this file in place of the bucket's own, before it is set
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  runpack-enterprise policy lint s3://evidence --dialect ceph
  runpack-enterprise policy lint s3://evidence --policy policy.json --cleaner arn:aws:iam::123456789012:role/gc

Exit codes: 0 nothing found that could lose evidence, 1 something critical or high, 2 something could not be looked at";

/// The largest policy that is read.
const POLICY_BYTES_MAX: u64 = 1 << 20;

impl PolicyLint {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let address = StoreAddress::S3(bucket(context, self.store.as_ref())?);
        let storage = Storage::open(context, &address, Access::Read)?;
        let store = storage.s3().ok_or_else(no_bucket)?;
        let dialect = self.dialect(store)?;
        let given = self.policy.as_deref().map(document).transpose()?;
        let mut inputs = context.wait(facts::inputs(store, dialect))?;
        if let Some(text) = given {
            inputs.policy = Observed::Found(text);
        }
        inputs.wanted = wanted(context)?;
        inputs.roles.holders = self.roles.holders.into_iter().collect();
        inputs.roles.cleaners = self.roles.cleaners.into_iter().collect();
        inputs.roles.administrators = self.roles.administrators.into_iter().collect();
        let findings = lint(&inputs);
        let verdict = Verdict::of(&findings);
        let codes: Vec<_> = findings.iter().map(|found| found.code).collect();
        Desk::of(context)?.log(
            "policy.lint",
            Outcome::Done,
            json!({
                "place": storage.place(),
                "policy": self.policy.as_ref().map(|path| path.to_string_lossy()),
                "verdict": verdict.word(),
                "findings": codes,
            }),
        )?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "store": storage.shown(),
                "verdict": verdict.word(),
                "findings": findings,
            }))?,
            Format::Text => {
                let text = text(context, &storage, verdict, &findings);
                context.output.print(&text)?;
            }
        }
        Ok(verdict.exit())
    }

    fn dialect(&self, store: &S3Store) -> Result<Dialect, Failure> {
        if let Some(server) = self.dialect {
            return Ok(server.into());
        }
        if store.is_amazon() {
            return Ok(Dialect::Aws);
        }
        Err(Failure::new(
            "servers understand policies differently, and nothing says whose this one is",
            "give --dialect aws, --dialect ceph or --dialect minio: the one whose server it is",
        ))
    }
}

fn document(path: &Path) -> Result<String, Failure> {
    let help = "give a policy as JSON, at most 1 MiB";
    let bytes = read_capped(path, POLICY_BYTES_MAX, "the policy", help)?;
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("the policy is no text, path=`{}`", path.display());
        Failure::new(message, help).because(&error)
    })
}

/// What packs are locked with, by the configuration. Until a date is as many days as there are until then.
fn wanted(context: &Context) -> Result<Option<(LockMode, RetainFor)>, Failure> {
    let Some(terms) = crate::storage::terms(&context.settings()?)? else {
        return Ok(None);
    };
    let retain_for = match terms.until() {
        RetainUntil::For(wanted) => Some(wanted),
        RetainUntil::At(until) => {
            let now = context.now.time.unix_seconds();
            let days = until.unix_seconds().saturating_sub(now).div_ceil(86_400);
            let days = u32::try_from(days).ok();
            days.and_then(|days| RetainFor::days(days).ok())
        }
    };
    Ok(retain_for.map(|retain_for| (terms.mode(), retain_for)))
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Sound,
    Unsound,
    Undecided,
}

impl Verdict {
    fn of(findings: &[LintFinding]) -> Self {
        let is_open = |found: &LintFinding| found.basis == Basis::NotObserved;
        let is_grave =
            |found: &LintFinding| matches!(found.severity, Severity::Critical | Severity::High);
        if findings.iter().any(|f| is_grave(f) && !is_open(f)) {
            Self::Unsound
        } else if findings.iter().any(is_open) {
            Self::Undecided
        } else {
            Self::Sound
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Unsound => "unsound",
            Self::Undecided => "undecided",
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Sound => Exit::Success,
            Self::Unsound => Exit::Invalid,
            Self::Undecided => Exit::Trouble,
        }
    }
}

fn text(context: &Context, storage: &Storage, verdict: Verdict, found: &[LintFinding]) -> String {
    let (tone, word) = match verdict {
        Verdict::Sound => (Tone::Good, "nothing found that could lose evidence"),
        Verdict::Unsound => (Tone::Bad, "evidence could be lost"),
        Verdict::Undecided => (Tone::Open, "undecided: not everything could be looked at"),
    };
    let number = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let mut text = format!("{}\n", context.output.tone(tone, word));
    text.push_str(&fields(&[
        ("store", safe(&storage.shown())),
        ("findings", count(number, "finding")),
    ]));
    for finding in found {
        let (tone, word) = match finding.severity {
            Severity::Critical => (Tone::Bad, "critical"),
            Severity::High => (Tone::Bad, "high"),
            Severity::Medium => (Tone::Open, "medium"),
            Severity::Low => (Tone::Strong, "low"),
            _ => (Tone::Faint, "remains"),
        };
        let word = context.output.tone(tone, word);
        let (code, what) = (finding.code.as_str(), safe(&finding.text));
        let what_to_do = safe(finding.what_to_do);
        text.extend([
            "\n",
            &word,
            "  ",
            code,
            "\n  ",
            &what,
            "\n  ",
            &what_to_do,
            "\n",
        ]);
    }
    text
}
