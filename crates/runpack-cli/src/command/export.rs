//! `runpack export`: a directory becomes a pack in a store.

mod gather;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::id::{Namespace, RunId, Scenario, SpecHash, Tenant};
use runpack_core::manifest::{LabelKey, Labels, Manifest, Subject, Text};
use runpack_core::pack::{Commit, CommittedPack, PackDraft};
use runpack_core::progress::Progress;
use runpack_core::receipt::ReceiptBook;
use runpack_core::store::FileStore;
use runpack_core::time::Timestamp;
use runpack_core::verify::{Container, StorePack};
use serde_json::json;

use super::Execute;
use crate::bundle_file::{self, CompressionOption, Made};
use crate::config::{CONFIG_FILE, parse_store, store_root};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::progress::Meter;
use crate::report::html::shell_word;
use crate::table::{fields, grouped, safe, size};
use crate::target::part;
use crate::{place, report};

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
    /// Whose run it is [env: RUNPACK_TENANT]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// Where it ran [env: RUNPACK_NAMESPACE]
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<Namespace>,
    /// What kind of run it is
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<Scenario>,
    /// Which run; a run has one pack [default: a fresh ULID]
    #[arg(long, value_name = "ID")]
    run_id: Option<RunId>,
    /// The file that says what was to be run (at most 8 MiB); its SHA-256 is the run's spec hash
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    /// The store: file:PATH [env: RUNPACK_STORE_ROOT] [default: file:./runpacks]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    to: Option<PathBuf>,
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
  runpack export results/ --spec plan.yaml --label commit=4f2a    # the rest from runpack.yaml";

fn parse_label(text: &str) -> Result<(LabelKey, Text<1024>), String> {
    let (key, value) = text.split_once('=').ok_or("a label is written KEY=VALUE")?;
    let key = key.parse().map_err(|error| format!("{error}"))?;
    let value = value.parse().map_err(|error| format!("{error}"))?;
    Ok((key, value))
}

/// What was made, for the result.
struct Exported {
    committed: CommittedPack,
    pack: PathBuf,
    receipt: PathBuf,
    bundle: Option<(PathBuf, Made)>,
}

impl Execute for Export {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let book = ReceiptBook::new(context.environment.receipts()?);
        let root = store_root(self.to.as_deref(), context)?;
        let mut outputs = vec![("store", root.as_path())];
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

        let store = Arc::new(context.wait(FileStore::create(&root))??);
        let meter = Meter::of(&context.output, "exporting", &progress);
        let committed = context.wait(async {
            let staged = draft.stage(store.clone()).await?;
            staged.commit().await
        })??;
        drop(meter);

        let pack = pack_directory(&store, &committed.manifest);
        let mut places = vec![place::uri(&pack)];
        check_receipts(&book, &committed, &places)?;
        // Recorded at once: what may still go wrong with the bundle takes nothing from the pack.
        let now = context.now.time;
        let receipt = book.record(&committed.manifest, places.clone(), now)?;
        let mut bundle = None;
        if let Some(path) = &self.bundle {
            let subject = committed.manifest.subject().clone();
            let container: Arc<dyn Container> = Arc::new(StorePack::new(store, subject));
            let how = self.compression.into();
            let made =
                bundle_file::write(context, &container, &committed.manifest, path, how, &limits)
                    .map_err(|failure| stored_without_bundle(&failure, &pack))?;
            let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            places.push(place::uri(&path));
            book.record(&committed.manifest, places, now)?;
            bundle = Some((path, made));
        }
        let exported = Exported {
            committed,
            pack,
            receipt: std::path::absolute(&receipt).unwrap_or(receipt),
            bundle,
        };
        exported.print(context)?;
        Ok(Exit::Success)
    }
}

/// A pack that was found in the store, and not made just now, is recorded only if no receipt knows better:
/// whoever can write to the store must not get a receipt for what they put there.
fn check_receipts(
    book: &ReceiptBook,
    committed: &CommittedPack,
    places: &[String],
) -> Result<(), Failure> {
    if committed.commit == Commit::New {
        return Ok(());
    }
    let pack_id = committed.manifest.pack_id();
    let mut known = book.of_subject(committed.manifest.subject())?;
    let mut agrees = known.is_empty() || known.contains(&pack_id);
    for place in places {
        let recorded = book.of_place(place)?;
        agrees &= recorded.is_none_or(|recorded| recorded == pack_id);
        known.extend(recorded);
    }
    if agrees {
        return Ok(());
    }
    let recorded = known.iter().map(|id| format!("recorded: {id}")).collect();
    Err(Failure::new(
        format!("the store shows another pack than the one that was exported here before, found=`{pack_id}`"),
        "somebody changed the store: restore it from a copy that verifies; no receipt was written",
    )
    .with_details(recorded)
    .with_exit(Exit::Invalid))
}

fn stored_without_bundle(failure: &Failure, pack: &Path) -> Failure {
    Failure::new(
        format!(
            "the pack is stored and its receipt recorded, but its bundle is not written, pack=`{}`",
            pack.display()
        ),
        format!(
            "{}; then `runpack bundle` makes it of the pack",
            failure.help()
        ),
    )
    .because(failure)
    .with_exit(failure.exit())
}

/// The directory of a pack in a file store.
fn pack_directory(store: &FileStore, manifest: &Manifest) -> PathBuf {
    let prefix = runpack_core::key::Location::pack_prefix(manifest.subject());
    store.root().join(prefix.as_str().trim_end_matches('/'))
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
        let config = context.config()?;
        let environment = &context.environment;
        let tenant = part(
            self.tenant.as_ref(),
            ("RUNPACK_TENANT", environment.tenant.as_ref()),
            config.tenant,
        )?;
        let namespace = part(
            self.namespace.as_ref(),
            ("RUNPACK_NAMESPACE", environment.namespace.as_ref()),
            config.namespace,
        )?;
        let scenario = part(self.scenario.as_ref(), ("", None), config.scenario)?;
        let missing = |flag: &str, or: &str| {
            Failure::new(
                format!("a run belongs to somebody, and {flag} is not given"),
                format!("give {flag}, or write it as {or}"),
            )
        };
        Ok(Subject::Run {
            tenant: tenant.ok_or_else(|| {
                missing(
                    "--tenant",
                    &format!("RUNPACK_TENANT, or `tenant` in {CONFIG_FILE}"),
                )
            })?,
            namespace: namespace.ok_or_else(|| {
                missing(
                    "--namespace",
                    &format!("RUNPACK_NAMESPACE, or `namespace` in {CONFIG_FILE}"),
                )
            })?,
            scenario: scenario
                .ok_or_else(|| missing("--scenario", &format!("`scenario` in {CONFIG_FILE}")))?,
            run_id: match &self.run_id {
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
            "commit": commit_name(self.committed.commit),
            "artifacts": manifest.artifacts().len(),
            "artifact_bytes": manifest.artifact_bytes(),
            "pack": self.pack.to_string_lossy(),
            "storage_uri": self.committed.storage_uri,
            "receipt": self.receipt.to_string_lossy(),
        });
        if let (Some((path, made)), Some(members)) = (&self.bundle, result.as_object_mut()) {
            members.insert("bundle".to_owned(), json!(path.to_string_lossy()));
            members.insert("bundle_commit".to_owned(), json!(made.as_str()));
        }
        context.output.print_json(&result)
    }

    fn text(&self) -> String {
        let manifest = &self.committed.manifest;
        let (said, remark) = match self.committed.commit {
            Commit::New => ("exported", ""),
            Commit::Again => (
                "exported before:",
                "This very pack is there; nothing was changed.\n",
            ),
            Commit::SameEvidence => (
                "exported before:",
                "The pack that is there holds the same evidence, made at another time or by another program. It stays.\n",
            ),
        };
        let artifacts = u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX);
        let mut facts = vec![
            ("pack id", manifest.pack_id().to_string()),
            ("created", manifest.created_at().to_string()),
            (
                "artifacts",
                format!(
                    "{}, {}",
                    grouped(artifacts),
                    size(manifest.artifact_bytes())
                ),
            ),
            ("pack", safe(&self.pack.to_string_lossy())),
        ];
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
        facts.push(("receipt", safe(&self.receipt.to_string_lossy())));
        format!(
            "{said} {}\n{remark}\n{}\n\
             Keep the pack id somewhere else than the pack: it proves later that this is the pack that was made.\n\
             next: runpack verify {}\n",
            report::subject(manifest.subject()),
            fields(&facts),
            safe(&shell_word(
                self.bundle.as_ref().map_or(&self.pack, |(path, _)| path)
            ))
        )
    }
}

const fn commit_name(commit: Commit) -> &'static str {
    match commit {
        Commit::New => "new",
        Commit::Again => "again",
        Commit::SameEvidence => "same_evidence",
    }
}
