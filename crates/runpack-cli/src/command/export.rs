//! `runpack export`: a directory becomes a pack in a store.

mod gather;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::id::{RunId, SpecHash};
use runpack_core::limits::Limits;
use runpack_core::manifest::{LabelKey, Labels, Manifest, Subject, Text};
use runpack_core::pack::{Commit, CommittedPack, PackDraft};
use runpack_core::pin::Pins;
use runpack_core::progress::Progress;
use runpack_core::time::Timestamp;
use runpack_core::verify::{Container, Level, Pack, StorePack, Verdict, VerifyOptions};
use serde_json::json;

use super::Execute;
use crate::bundle_file::{self, CompressionOption, Made};
use crate::clock::SystemClock;
use crate::config::CONFIG_FILE;
use crate::context::Context;
use crate::delivery::{self, Delivered};
use crate::failure::{Exit, Failure};
use crate::identity::RunOptions;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::progress::Meter;
use crate::receipts::{self, Seen};
use crate::report::html::shell_word;
use crate::settings::Settings;
use crate::storage::{Access, PlaceInStore, Storage, StoreAddress, parse_store};
use crate::table::{fields, safe};
use crate::{committed, place, unsound};

/// Make a pack of a directory's files and keep it in a store
///
/// Every regular file below DIR becomes an artifact. Links and special files are refused, all of them named. The pack
/// exists once its manifest is written, last of all; until then nothing verifies, whatever interrupts the export
/// (ctrl-C ends it with 130), and the next export goes on with what is there.
///
/// Where the pack is and which pack id it has is recorded in a receipt on this machine, which `verify` consults.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// The directory whose files become artifacts
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    run: RunOptions,
    /// The file that says what was to be run (at most 8 MiB); its SHA-256 is the run's spec hash
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    /// The store: file:PATH or s3://BUCKET/PREFIX [env: RUNPACK_STORE_ROOT, RUNPACK_STORE_BUCKET]
    /// [default: file:./runpacks]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    to: Option<StoreAddress>,
    /// When the pack is made, as 2026-11-20T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    created_at: Option<Timestamp>,
    /// A label, for people and searches; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(LabelKey, Text<1024>)>,
    /// Also write the pack as one file
    #[arg(long, value_name = "OUT.tar.gz")]
    bundle: Option<PathBuf>,
    /// How to compress the bundle
    #[arg(
        long,
        value_name = "HOW",
        default_value = "balanced",
        requires = "bundle"
    )]
    compression: CompressionOption,
    /// Push nowhere, whatever `auto_push` says
    #[arg(long)]
    no_push: bool,
    /// What files are, where their names do not tell: a mapping file
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack export results/ --tenant acme --namespace prod --scenario loan-approval \\
      --run-id run-42 --spec results/spec.json --to file:/srv/packs --bundle run-42.tar.gz
  runpack export results/ --spec plan.yaml --label commit=4f2a    # the rest from runpack.yaml
  runpack export results/ --spec plan.yaml --to s3://evidence/ci   # straight to a bucket";

fn parse_label(text: &str) -> Result<(LabelKey, Text<1024>), String> {
    let (key, value) = text.split_once('=').ok_or("a label is written KEY=VALUE")?;
    let key = key.parse().map_err(|error| format!("{error}"))?;
    let value = value.parse().map_err(|error| format!("{error}"))?;
    Ok((key, value))
}

/// What was made, for the result.
struct Exported {
    committed: CommittedPack,
    at: PlaceInStore,
    receipt: PathBuf,
    bundle: Option<(PathBuf, Made)>,
    pushed: Option<Pushed>,
}

/// A push that followed.
struct Pushed {
    to: String,
    delivered: Delivered,
}

impl Execute for Export {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let settings = context.settings()?;
        receipts::book(context)?;
        let address = match &self.to {
            Some(address) => Ok(address.clone()),
            None => settings.address(),
        };
        let push_to = if self.no_push {
            None
        } else {
            push_to(&settings, address.as_ref().ok())?
        };
        let mut outputs = Vec::new();
        for store in [address.as_ref().ok(), push_to.as_ref()]
            .into_iter()
            .flatten()
        {
            if let StoreAddress::File(root) = store {
                outputs.push(("store", root.as_path()));
            }
        }
        if let Some(bundle) = &self.bundle {
            outputs.push(("bundle", bundle));
        }
        gather::check_outside(&self.directory, &outputs)?;
        let gathered = gather::gather(&self.directory, &self.spec, self.map.as_deref(), context)?;

        let subject = self.subject(gathered.spec_hash, context)?;
        let created_at = self.created_at.unwrap_or(context.now.time);
        let progress = Arc::new(Progress::default());
        let mut draft = PackDraft::new(subject, created_at, context.producer.clone())
            .with_labels(labels(self.labels)?)
            .with_limits(limits.clone())
            .with_progress(Arc::clone(&progress));
        gathered
            .artifacts
            .into_iter()
            .for_each(|artifact| draft.add(artifact));

        let storage = Storage::open_for(context, draft.subject(), self.to.as_ref(), |_| address)?;
        // What could not be pushed to is told before hours of work.
        let push_to = push_to
            .map(|address| Storage::open(context, &address, Access::Write))
            .transpose()?;
        let meter = Meter::of(&context.output, "exporting", &progress);
        let committed = context.wait(async {
            let staged = draft.stage(storage.store()).await?;
            let staged = staged.with_deadline(Arc::new(SystemClock), context.now.time);
            staged.commit().await
        })??;
        drop(meter);

        let manifest = Arc::clone(&committed.manifest);
        let at = storage.pack(manifest.subject());
        let mut places = vec![at.place.clone()];
        let seen = Seen::from(committed.commit);
        // Recorded at once: what may still go wrong takes nothing from the pack.
        let receipt = receipts::record(context, &manifest, places.clone(), seen)
            .map_err(|failure| failure.with_details(committed::there(&manifest, &at)))?;
        if storage.s3().is_some() {
            context.wait(delivery::refer(context, &storage, &manifest))?;
        }
        let form = delivery::Form::Files;
        context.wait(delivery::index(context, &storage, &manifest, form))?;
        let mut exported = Exported {
            committed,
            at,
            receipt,
            bundle: None,
            pushed: None,
        };
        let subject = manifest.subject().clone();
        let container: Arc<dyn Container> = Arc::new(StorePack::new(storage.reader(), subject));
        if let Some(path) = &self.bundle {
            let how = self.compression.into();
            let made = bundle_file::write(context, &container, &manifest, path, how, &limits)
                .map_err(|failure| stored_without_bundle(&failure, &exported.at))?;
            let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            places.push(place::uri(&path));
            receipts::record(context, &manifest, places, Seen::Made)?;
            exported.bundle = Some((path, made));
        }
        if let Some(to) = push_to {
            let verifies = settings.verify_on_push.value;
            let pushed = push(context, &container, &manifest, &to, &limits, verifies);
            let delivered =
                pushed.map_err(|failure| stored_without_push(&failure, &exported.at, &to))?;
            exported.pushed = Some(Pushed {
                to: to.shown(),
                delivered,
            });
        }
        exported.print(context)?;
        Ok(Exit::Success)
    }
}

/// Where an export with `auto_push` goes next: nowhere if it went there already.
fn push_to(
    settings: &Settings,
    exported_to: Option<&StoreAddress>,
) -> Result<Option<StoreAddress>, Failure> {
    if !settings.auto_push.value {
        return Ok(None);
    }
    let remote = settings.remote()?;
    Ok((exported_to != Some(&remote)).then_some(remote))
}

/// Verifies what was exported where it is, unless told not to, and brings it to the other store.
fn push(
    context: &Context,
    container: &Arc<dyn Container>,
    manifest: &Arc<Manifest>,
    to: &Storage,
    limits: &Limits,
    verifies: bool,
) -> Result<Delivered, Failure> {
    if verifies {
        let mut options = VerifyOptions::level(Level::Full);
        options.limits = limits.clone();
        let report = context.wait(async {
            let pins = Pins::pack_id(manifest.pack_id());
            match Pack::open(Arc::clone(container), limits).await {
                Ok(pack) => pack.verify(&pins, &options).await,
                Err(report) => *report,
            }
        })?;
        if report.verdict != Verdict::Valid {
            return Err(unsound::not_done(&report, "pushed"));
        }
    }
    let progress = Arc::new(Progress::default());
    let meter = Meter::of(&context.output, "pushing", &progress);
    let delivered = context.wait(delivery::pack(
        context, container, manifest, to, limits, &progress,
    ))??;
    drop(meter);
    delivered.record(context)?;
    Ok(delivered)
}

fn stored_without_push(failure: &Failure, at: &PlaceInStore, to: &Storage) -> Failure {
    Failure::new(
        format!(
            "the pack is stored and its receipt recorded, but it is not pushed, pack=`{}` to=`{}`",
            at.shown,
            to.shown()
        ),
        format!("{}; then `runpack push` brings it there", failure.help()),
    )
    .because(failure)
    .with_details(failure.details().to_vec())
    .with_exit(failure.exit())
}

fn stored_without_bundle(failure: &Failure, at: &PlaceInStore) -> Failure {
    Failure::new(
        format!(
            "the pack is stored and its receipt recorded, but its bundle is not written, pack=`{}`",
            at.shown
        ),
        format!(
            "{}; then `runpack bundle` makes it of the pack",
            failure.help()
        ),
    )
    .because(failure)
    .with_exit(failure.exit())
}

fn labels(given: Vec<(LabelKey, Text<1024>)>) -> Result<Labels, Failure> {
    let mut labels = Labels::new();
    for (key, value) in given {
        if labels.insert(key.clone(), value).is_some() {
            return Err(Failure::new(
                format!("a label is given twice, key=`{key}`"),
                "give each key once",
            ));
        }
    }
    Ok(labels)
}

impl Export {
    fn subject(&self, spec_hash: SpecHash, context: &Context) -> Result<Subject, Failure> {
        let whose = self.run.whose(context)?;
        let missing = |flag: &str, or: &str| {
            Failure::new(
                format!("a run belongs to somebody, and {flag} is not given"),
                format!("give {flag}, or write it as {or}"),
            )
        };
        Ok(Subject::Run {
            tenant: whose.tenant.ok_or_else(|| {
                missing(
                    "--tenant",
                    &format!("RUNPACK_TENANT, or `tenant` in {CONFIG_FILE}"),
                )
            })?,
            namespace: whose.namespace.ok_or_else(|| {
                missing(
                    "--namespace",
                    &format!("RUNPACK_NAMESPACE, or `namespace` in {CONFIG_FILE}"),
                )
            })?,
            scenario: whose
                .scenario
                .ok_or_else(|| missing("--scenario", &format!("`scenario` in {CONFIG_FILE}")))?,
            run_id: match &self.run.run_id {
                Some(run_id) => run_id.clone(),
                None => fresh_run_id(context)?,
            },
            spec_hash,
        })
    }
}

fn fresh_run_id(context: &Context) -> Result<RunId, Failure> {
    let random = ulid::Ulid::generate().random();
    let ulid = ulid::Ulid::from_parts(context.now.unix_millis, random);
    ulid.to_string().parse().map_err(|error| {
        Failure::new("no run id could be made", "give one with --run-id").because(&error)
    })
}

impl Exported {
    fn print(&self, context: &Context) -> Result<(), Failure> {
        match context.output.format() {
            Format::Json => self.print_json(context),
            Format::Text => context.output.print(&self.text()),
        }
    }

    fn print_json(&self, context: &Context) -> Result<(), Failure> {
        let manifest = &self.committed.manifest;
        let mut result = json!({
            "pack_id": manifest.pack_id(),
            "subject": manifest.subject(),
            "created_at": manifest.created_at(),
            "commit": committed::name(self.committed.commit),
            "artifacts": manifest.artifacts().len(),
            "artifact_bytes": manifest.artifact_bytes(),
            "pack": self.at.shown,
            "storage_uri": self.committed.storage_uri,
            "receipt": self.receipt.to_string_lossy(),
        });
        if let (Some((path, made)), Some(members)) = (&self.bundle, result.as_object_mut()) {
            members.insert("bundle".to_owned(), json!(path.to_string_lossy()));
            members.insert("bundle_commit".to_owned(), json!(made.as_str()));
        }
        if let (Some(pushed), Some(members)) = (&self.pushed, result.as_object_mut()) {
            let pushed = json!({
                "to": pushed.to,
                "pack_id": pushed.delivered.manifest.pack_id(),
                "commit": committed::name(pushed.delivered.commit),
                "pack": pushed.delivered.at.shown,
            });
            members.insert("pushed".to_owned(), pushed);
        }
        context.output.print_json(&result)
    }

    fn text(&self) -> String {
        let mut facts = committed::facts(&self.committed.manifest, &self.at);
        if let Some((path, made)) = &self.bundle {
            let before = if *made == Made::Again {
                " (was there)"
            } else {
                ""
            };
            facts.push((
                "bundle",
                format!("{}{before}", safe(&path.to_string_lossy())),
            ));
        }
        if let Some(pushed) = &self.pushed {
            let before = match pushed.delivered.commit {
                Commit::New => "",
                Commit::Again | Commit::SameEvidence => " (was there)",
            };
            facts.push(("pushed to", format!("{}{before}", safe(&pushed.to))));
        }
        facts.push(("receipt", safe(&self.receipt.to_string_lossy())));
        format!(
            "{}\n{}\n\
             Keep the pack id somewhere else than the pack: it proves later that this is the pack that was made.\n\
             next: runpack verify {}\n",
            committed::headline("exported", self.committed.commit, &self.committed.manifest),
            fields(&facts),
            safe(&shell_word(match &self.bundle {
                Some((path, _)) => path,
                None => Path::new(&self.at.shown),
            }))
        )
    }
}
