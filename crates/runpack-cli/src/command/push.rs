//! `runpack push`: a pack directory or a bundle goes to a store.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use runpack_core::bundle::{BundleOutcome, verify_bundle};
use runpack_core::commitment::ChunkHasher;
use runpack_core::directory::FileSource;
use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::progress::Progress;
use runpack_core::store::Declared;
use runpack_core::verify::{Level, Pack, Verdict, VerifyReport};
use serde_json::json;

use super::Execute;
use crate::context::Context;
use crate::delivery::{self, Delivered, NewBundle};
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::pins::{Known, PinOptions};
use crate::progress::Meter;
use crate::report::html::shell_word;
use crate::settings::Settings;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{fields, safe};
use crate::target::{BundleTarget, FilesTarget, Locate, Target};
use crate::unsound;
use crate::{check, committed};

/// Bring a pack directory or a bundle to a store
///
/// The pack is verified first, and again byte by byte on the way. If it is there already, that is fine and said so; if
/// another pack is there, nothing is replaced and both ids are named. A push that was interrupted goes on with what
/// arrived: run it again. A receipt is recorded as `export` does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Push {
    /// The pack: a directory, or a bundle
    #[arg(value_name = "TARGET")]
    target: OsString,
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the bucket that is configured]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    to: Option<StoreAddress>,
    /// Push only the pack that has this id
    #[arg(long, value_name = "PACK_ID")]
    expect_pack_id: Option<PackId>,
    /// Do not consult the receipts of this machine
    #[arg(long)]
    no_receipts: bool,
    /// Verify first, whatever is configured
    #[arg(long, conflicts_with = "no_verify")]
    verify: bool,
    /// Do not verify first: what is damaged is found on the way, and nothing is committed then
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack push run-42/ --to s3://evidence/ci
  runpack push run-42.tar.gz                    # to the bucket in runpack.yaml

Exit codes: 0 it is there, 1 it does not verify, 2 another pack is there, or not done";

impl Execute for Push {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let settings = context.settings()?;
        crate::receipts::book(context)?;
        let verifies = match (self.verify, self.no_verify) {
            (true, _) => true,
            (_, true) => false,
            (false, false) => settings.verify_on_push.value,
        };
        let target = Target::locate(&self.target, &Locate::default(), context)?;
        let options = PinOptions::of_pack_id(self.expect_pack_id, self.no_receipts);
        let known = Known::gather(&options, &target, context)?;
        let to = match &self.to {
            Some(address) => Storage::open(context, address, Access::Write)?,
            None if Storage::is_routed(context, &settings) => {
                let subject = subject(context, &target, &limits)?;
                Storage::open_for(context, &subject, None, Settings::remote)?
            }
            None => Storage::open(context, &settings.remote()?, Access::Write)?,
        };
        let delivered = match &target {
            Target::Files(files) => {
                if verifies {
                    let report = check::verify(context, &target, &known, Level::Full, &limits)?;
                    refuse(&report)?;
                }
                push_files(context, files, &known, &to, &limits)?
            }
            Target::Bundle(bundle) => {
                let level = if verifies {
                    Level::Full
                } else {
                    Level::Presence
                };
                push_bundle(context, bundle, &known, &to, &limits, level)?
            }
        };
        let receipt = delivered.record(context).map_err(|failure| {
            failure.with_details(committed::there(&delivered.manifest, &delivered.at))
        })?;
        print(context, &to, &delivered, &receipt)?;
        Ok(Exit::Success)
    }
}

/// Whose pack it is, as its manifest says.
fn subject(context: &Context, target: &Target, limits: &Limits) -> Result<Subject, Failure> {
    let none = || {
        Failure::new(
            "whose pack it is cannot be told, so policy routes it nowhere",
            "`runpack verify` says what is wrong with it",
        )
        .with_exit(Exit::Invalid)
    };
    let manifest = match target {
        Target::Files(files) => {
            let pack = context.wait(Pack::open(Arc::clone(&files.container), limits))?;
            Some(Arc::clone(pack.map_err(|_| none())?.manifest()))
        }
        Target::Bundle(bundle) => {
            let bounds = limits.clone();
            let read = move |source| verify_bundle(source, &bounds, Level::Presence);
            let outcome: BundleOutcome = bundle.read(context, "reading", read)?;
            outcome.manifest
        }
    };
    manifest
        .map(|manifest| manifest.subject().clone())
        .ok_or_else(none)
}

fn refuse(report: &VerifyReport) -> Result<(), Failure> {
    match report.verdict {
        Verdict::Valid | Verdict::Consistent => Ok(()),
        Verdict::Invalid | Verdict::Undecided => Err(unsound::not_done(report, "pushed")),
    }
}

/// What is known beforehand counts also where nothing is verified first.
fn check_pins(known: &Known, manifest: &Manifest) -> Result<(), Failure> {
    let (_, findings) = known.pins(manifest)?.check(manifest);
    if findings.is_empty() {
        return Ok(());
    }
    let details = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.code, finding.detail))
        .collect();
    Err(Failure::new(
        "this is not the pack that it should be, and is not pushed",
        "find out which pack this is; `runpack verify` says more",
    )
    .with_details(details)
    .with_exit(Exit::Invalid))
}

fn push_files(
    context: &Context,
    files: &FilesTarget,
    known: &Known,
    to: &Storage,
    limits: &Limits,
) -> Result<Delivered, Failure> {
    let container = Arc::clone(&files.container);
    let pack = context
        .wait(Pack::open(Arc::clone(&container), limits))?
        .map_err(|report| unsound::failure(&report))?;
    let manifest = Arc::clone(pack.manifest());
    check_pins(known, &manifest)?;
    let progress = Arc::new(Progress::default());
    let _meter = Meter::of(&context.output, "pushing", &progress);
    let delivered = context.wait(delivery::pack(
        context, &container, &manifest, to, limits, &progress,
    ))?;
    delivered.map_err(|error| {
        if delivery::is_of_source(&error) {
            Failure::new(
                "a pack that does not verify is not pushed",
                "take another copy of it, or export again; `runpack verify` says more",
            )
            .because(&error)
            .with_exit(Exit::Invalid)
        } else {
            error.into()
        }
    })
}

fn push_bundle(
    context: &Context,
    bundle: &BundleTarget,
    known: &Known,
    to: &Storage,
    limits: &Limits,
    level: Level,
) -> Result<Delivered, Failure> {
    let source: Arc<dyn runpack_core::store::Source> = match bundle {
        BundleTarget::Input => {
            return Err(Failure::new(
                "a bundle on standard input cannot be pushed: it is read twice, to hash it and to send it",
                "write it to a file first",
            ));
        }
        BundleTarget::File(path) => {
            let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            Arc::new(FileSource::open(&path)?)
        }
        BundleTarget::Stored { object, .. } => object.source(),
    };
    let bounds = limits.clone();
    let (outcome, declared) = bundle.read(context, "verifying", move |source| {
        hash_and_verify(source, &bounds, level)
    })?;
    let manifest = outcome.manifest.clone();
    let report = check::report_of(outcome, known, level)?;
    refuse(&report)?;
    let (Some(manifest), Some(declared)) = (manifest, declared) else {
        return Err(unsound::not_done(&report, "pushed"));
    };
    let new = NewBundle {
        manifest,
        declared,
        source,
    };
    Ok(context.wait(delivery::bundle(context, new, to, limits))??)
}

/// Verifies a bundle and says what it is to be declared as, in one reading; no declaration where it was not read to
/// its end.
pub(crate) fn hash_and_verify(
    source: impl Read,
    limits: &Limits,
    level: Level,
) -> (BundleOutcome, Option<Declared>) {
    let mut hashing = Hashing {
        inner: source,
        hasher: ChunkHasher::new(),
        at_end: false,
    };
    let outcome = verify_bundle(&mut hashing, limits, level);
    let declared = hashing.at_end.then(|| {
        let (content, bytes) = hashing.hasher.finish();
        Declared::new(bytes, content)
    });
    (outcome, declared)
}

struct Hashing<R> {
    inner: R,
    hasher: ChunkHasher,
    at_end: bool,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.at_end |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

fn print(
    context: &Context,
    to: &Storage,
    delivered: &Delivered,
    receipt: &Path,
) -> Result<(), Failure> {
    let manifest = &delivered.manifest;
    match context.output.format() {
        Format::Json => context.output.print_json(&json!({
            "pack_id": manifest.pack_id(),
            "subject": manifest.subject(),
            "created_at": manifest.created_at(),
            "commit": committed::name(delivered.commit),
            "store": to.shown(),
            "pack": delivered.at.shown,
            "reference": delivered.reference_name(),
            "receipt": receipt.to_string_lossy(),
        })),
        Format::Text => context.output.print(&text(delivered, receipt)),
    }
}

fn text(delivered: &Delivered, receipt: &Path) -> String {
    let mut facts = committed::facts(&delivered.manifest, &delivered.at);
    facts.push(("receipt", safe(&receipt.to_string_lossy())));
    format!(
        "{}\n{}\nnext: runpack verify {}\n",
        committed::headline("pushed", delivered.commit, &delivered.manifest),
        fields(&facts),
        safe(&shell_word(Path::new(&delivered.at.shown)))
    )
}
