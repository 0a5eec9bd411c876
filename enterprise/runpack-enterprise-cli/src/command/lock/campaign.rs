//! `lock extend`: one pack, or every pack of a tenant, namespace or scenario, for longer.
//!
//! What was done is written down pack by pack, so that a campaign that was interrupted goes on where it was. What it was
//! asked for is written above that: a campaign goes on as what it was begun as, or not at all.

mod file;

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
use runpack_enterprise::audit::Outcome;
use runpack_enterprise::locked::Sealed;
use serde_json::json;

use self::file::{Campaign, Terms};
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
    /// Keeps what was done [default: in this machine's state, one for each store, tenant, mode and end]
    #[arg(long, value_name = "FILE")]
    campaign: Option<PathBuf>,
    #[command(flatten)]
    how: HowLong,
}

impl Extend {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let storage = Storage::open(context, &self.store, Access::Read)?;
        if storage.s3().is_none() {
            return Err(Failure::new(
                "locks are on versions in a bucket, and the store is a directory",
                "give s3://BUCKET/PREFIX",
            ));
        }
        let subjects = self.subjects(context, &storage)?;
        let terms = self.terms(context, &storage)?;
        let path = match self.campaign.clone() {
            Some(path) => path,
            None => desk.path("campaigns").join(terms.file_name()),
        };
        let mut campaign = Campaign::open(path, &terms)?;
        let (mut done, mut changed, mut failed) = (0_u64, 0_u64, Vec::new());
        for subject in subjects {
            let key = Location::pack_prefix(&subject).to_string();
            if campaign.has(&key) {
                done = done.saturating_add(1);
                continue;
            }
            match self.extend(context, &desk, &storage, subject) {
                Ok(sealed) => {
                    campaign.note(&key)?;
                    done = done.saturating_add(1);
                    changed = changed.saturating_add(u64::from(sealed.is_changed));
                }
                Err((outcome, failure)) => {
                    let detail = json!({
                        "place": storage.place(),
                        "pack": key,
                        "why": failure.to_string(),
                        "campaign": campaign.path().to_string_lossy(),
                    });
                    desk.log("lock.extend", outcome, detail)?;
                    failed.push(format!("{key}: {failure}"));
                }
            }
        }
        print(context, &campaign, (done, changed), &failed)?;
        Ok(if failed.is_empty() {
            Exit::Success
        } else {
            Exit::Trouble
        })
    }

    /// Locks one pack for longer.
    fn extend(
        &self,
        context: &Context,
        desk: &Desk,
        storage: &Storage,
        subject: Subject,
    ) -> Result<Sealed, (Outcome, Failure)> {
        let failed = |failure| (Outcome::Failed, failure);
        let container = StorePack::new(storage.reader(), subject);
        let pack = context.wait(Pack::open(Arc::new(container), &Limits::default()));
        let pack = pack.map_err(failed)?.map_err(|_| {
            let failure = Failure::new("its manifest is not sound", "verify it");
            (Outcome::Refused, failure)
        })?;
        let manifest = Arc::clone(pack.manifest());
        let pack = BucketPack::of(storage.clone(), manifest, desk);
        set(
            context,
            desk,
            &pack.map_err(failed)?,
            &self.how,
            "lock.extend",
        )
        .map_err(failed)
    }

    /// What this campaign is asked for.
    fn terms(&self, context: &Context, storage: &Storage) -> Result<Terms, Failure> {
        let (mode, until) = self.how.asked(context)?;
        Ok(Terms {
            place: storage.place(),
            tenant: self.tenant.clone(),
            namespace: self.namespace.clone(),
            scenario: self.scenario.clone(),
            mode,
            until,
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

fn print(
    context: &Context,
    campaign: &Campaign,
    (done, changed): (u64, u64),
    failed: &[String],
) -> Result<(), Failure> {
    if context.output.format() == Format::Json {
        return context.output.print_json(&json!({
            "campaign": campaign.path().to_string_lossy(),
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
        ("campaign", safe(&campaign.path().to_string_lossy())),
    ]));
    for failure in failed {
        text.extend(["  failed  ", &safe(failure), "\n"]);
    }
    context.output.print(&text)
}
