//! `lock extend`: one pack, or every pack of a tenant, namespace or scenario, for longer.
//!
//! What was done is written down pack by pack, so that a campaign that was interrupted goes on where it was.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt as _;
use runpack_cli::output::{Format, Tone};
use runpack_cli::storage::{Access, Storage, StoreAddress, parse_store};
use runpack_cli::table::{count, fields, safe};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::id::{Namespace, Scenario, Tenant};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::Subject;
use runpack_core::verify::{Pack, StorePack};
use serde_json::json;

use super::{HowLong, set};
use crate::desk::Desk;
use crate::pack::BucketPack;

/// Lock every pack of a tenant for longer
///
/// Packs are found by their identity, and each is locked as `lock set` does. What was done is kept in the campaign's
/// file: the same command again goes on with what is left.
#[derive(Debug, Args)]
pub(super) struct Extend {
    /// The bucket: s3://BUCKET/PREFIX
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: StoreAddress,
    /// Whose packs
    #[arg(long, value_name = "ID")]
    tenant: Tenant,
    /// Only of this namespace
    #[arg(long, value_name = "ID")]
    namespace: Option<Namespace>,
    /// Only of this scenario
    #[arg(long, value_name = "ID", requires = "namespace")]
    scenario: Option<Scenario>,
    /// Keeps what was done [default: a new campaign, in this machine's state]
    #[arg(long, value_name = "FILE")]
    campaign: Option<PathBuf>,
    #[command(flatten)]
    how: HowLong,
}

impl Extend {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let storage = Storage::open(context, &self.store, Access::Read)?;
        let Some(store) = storage.s3().cloned() else {
            return Err(Failure::new(
                "locks are on versions in a bucket, and the store is a directory",
                "give s3://BUCKET/PREFIX",
            ));
        };
        let subjects = self.subjects(context, &storage)?;
        let path = match self.campaign.clone() {
            Some(path) => path,
            None => desk
                .path("campaigns")
                .join(format!("{}.txt", ulid::Ulid::generate())),
        };
        let mut campaign = Campaign::open(path)?;
        let (mut done, mut changed, mut failed) = (0_u64, 0_u64, Vec::new());
        for subject in subjects {
            let key = Location::pack_prefix(&subject).to_string();
            if campaign.has(&key) {
                done = done.saturating_add(1);
                continue;
            }
            let container = StorePack::new(storage.reader(), subject);
            let pack = context.wait(Pack::open(Arc::new(container), &Limits::default()))?;
            let sealed = match pack {
                Ok(pack) => {
                    let manifest = Arc::clone(pack.manifest());
                    BucketPack::of(storage.clone(), store.clone(), manifest, &desk)
                        .and_then(|pack| set(context, &desk, &pack, &self.how, "lock.extend"))
                }
                Err(_) => Err(Failure::new("its manifest is not sound", "verify it")),
            };
            match sealed {
                Ok(sealed) => {
                    campaign.note(&key)?;
                    done = done.saturating_add(1);
                    changed = changed.saturating_add(u64::from(sealed.is_changed));
                }
                Err(failure) => failed.push(format!("{key}: {failure}")),
            }
        }
        campaign.print(context, (done, changed), &failed)?;
        Ok(if failed.is_empty() {
            Exit::Success
        } else {
            Exit::Trouble
        })
    }

    /// Every run of which there is a manifest.
    fn subjects(&self, context: &Context, storage: &Storage) -> Result<Vec<Subject>, Failure> {
        let prefix = Location::runs_prefix(
            &self.tenant,
            self.namespace.as_ref(),
            self.scenario.as_ref(),
            None,
        );
        let reader = storage.reader();
        let subjects = context.wait(async {
            let mut entries = reader.list(&prefix);
            let mut subjects = Vec::new();
            while let Some(entry) = entries.next().await {
                let location = Location::parse(&entry?.key);
                subjects.extend(location.and_then(|location| location.manifest_subject()));
            }
            Ok::<_, runpack_core::store::StoreError>(subjects)
        })??;
        Ok(subjects)
    }
}

impl Campaign {
    fn print(
        &self,
        context: &Context,
        (done, changed): (u64, u64),
        failed: &[String],
    ) -> Result<(), Failure> {
        if context.output.format() == Format::Json {
            return context.output.print_json(&json!({
                "campaign": self.path.to_string_lossy(),
                "packs": done,
                "changed": changed,
                "failed": failed,
            }));
        }
        let (tone, word) = if failed.is_empty() {
            (Tone::Good, "done")
        } else {
            (Tone::Bad, "not all done: run it again")
        };
        let mut text = format!("{}\n", context.output.tone(tone, word));
        text.push_str(&fields(&[
            ("packs", count(done, "pack")),
            ("made longer", changed.to_string()),
            ("campaign", safe(&self.path.to_string_lossy())),
        ]));
        for failure in failed {
            text.extend(["  failed  ", &safe(failure), "\n"]);
        }
        context.output.print(&text)
    }
}

/// What was done already.
struct Campaign {
    path: PathBuf,
    done: BTreeSet<String>,
}

impl Campaign {
    fn open(path: PathBuf) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unusable(&path, &error)),
        };
        // What a crash tore off is no line, and is done again.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let done = whole.lines().map(str::to_owned).collect();
        Ok(Self { path, done })
    }

    fn has(&self, key: &str) -> bool {
        self.done.contains(key)
    }

    fn note(&mut self, key: &str) -> Result<(), Failure> {
        let noted = || {
            if let Some(directory) = self.path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)?;
            file.write_all(format!("{key}\n").as_bytes())?;
            file.sync_data()
        };
        noted().map_err(|error| unusable(&self.path, &error))?;
        self.done.insert(key.to_owned());
        Ok(())
    }
}

fn unusable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!(
            "the campaign's file cannot be used, path=`{}`",
            path.display()
        ),
        "give another --campaign",
    )
    .because(error)
}
