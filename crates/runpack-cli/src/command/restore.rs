//! `runpack restore`: what lies in an archive tier is asked back.

use clap::Args;
use futures_util::{StreamExt as _, stream};
use runpack_core::key::{KeyTooLong, Location, ObjectKey};
use runpack_core::pack::PackError;
use runpack_core::store::s3::{Restore as Answer, S3Store};
use runpack_core::store::{ArtifactReader as _, StoreError};
use runpack_core::verify::Pack;
use serde_json::json;

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::storage::PlaceInStore;
use crate::table::{count, fields, safe};
use crate::target::{BundleTarget, FilesAt, Target, TargetOptions};
use crate::unsound;

/// How many objects are asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// Ask for a pack back that lies in an archive tier of its bucket
///
/// Every object of the pack that cannot be read now is asked for; the service copies it back, which takes minutes to
/// hours. Run it again to see how far it is. Where the manifest itself is archived, it comes first, and then, by running
/// this again, what it lists.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Restore {
    /// How many days the copies stay readable
    #[arg(long, value_name = "NUMBER", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=365))]
    days: u16,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    target: TargetOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack restore s3://evidence/ci --tenant acme --namespace prod --scenario loan --run-id run-42
  runpack restore s3://evidence/ci --pack-id sha256:9f2c... --days 30

Exit codes: 0 all of it can be read now, 2 something is under way or was not asked for";

#[derive(Default)]
struct Counted {
    readable: u64,
    requested: u64,
    under_way: u64,
}

impl Execute for Restore {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let target = Target::open(&self.target, context)?;
        let (store, mut keys, at) = objects(&target)?;
        let mut counted = Counted::default();
        if let Target::Files(files) = &target {
            // The manifest first: only it says what else there is.
            context.wait(ask(store, &keys, self.days, &mut counted))??;
            if counted.readable > 0 {
                let pack =
                    context.wait(Pack::open(std::sync::Arc::clone(&files.container), &limits))?;
                let pack = pack.map_err(|report| unsound::failure(&report))?;
                let manifest = pack.manifest();
                if files
                    .subject()
                    .is_some_and(|asked| asked != manifest.subject())
                {
                    return Err(unsound::of_another_subject());
                }
                let artifact_keys = manifest.artifacts().iter().map(|artifact| {
                    Location::artifact(manifest.subject(), artifact.name(), artifact.commitment())
                        .key()
                });
                keys = artifact_keys
                    .collect::<Result<Vec<ObjectKey>, KeyTooLong>>()
                    .map_err(PackError::from)?;
                context.wait(ask(store, &keys, self.days, &mut counted))??;
            }
        } else {
            context.wait(ask(store, &keys, self.days, &mut counted))??;
        }
        let is_done = counted.requested == 0 && counted.under_way == 0;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "pack": at.shown,
                "readable": counted.readable,
                "requested": counted.requested,
                "under_way": counted.under_way,
                "days": self.days,
            }))?,
            Format::Text => context.output.print(&text(&counted, &at, is_done))?,
        }
        Ok(if is_done {
            Exit::Success
        } else {
            Exit::Trouble
        })
    }
}

/// The store, the objects that can be named without reading anything, and where it all is.
fn objects(target: &Target) -> Result<(&S3Store, Vec<ObjectKey>, PlaceInStore), Failure> {
    let not_archived = || {
        Failure::new(
            "only what is in a bucket can lie in an archive tier",
            "give s3://BUCKET/PREFIX and which pack",
        )
    };
    let (storage, key) = match target {
        Target::Files(files) => match &files.at {
            FilesAt::Store {
                storage, subject, ..
            } => {
                let key = Location::manifest(subject).key();
                (storage, key.map_err(PackError::from)?)
            }
            FilesAt::Directory(_) => return Err(not_archived()),
        },
        Target::Bundle(BundleTarget::Stored {
            storage, object, ..
        }) => (storage, object.key().clone()),
        Target::Bundle(_) => return Err(not_archived()),
    };
    let store = storage.s3().ok_or_else(not_archived)?;
    let at = target.stored().ok_or_else(not_archived)?;
    Ok((store, vec![key], at))
}

async fn ask(
    store: &S3Store,
    keys: &[ObjectKey],
    days: u16,
    counted: &mut Counted,
) -> Result<(), StoreError> {
    let asking = stream::iter(keys).map(|key| async move {
        let (object, _) = store.oldest(key).await?;
        store.restore(&object, days).await
    });
    let mut answers = std::pin::pin!(asking.buffer_unordered(ASKED_AT_ONCE));
    while let Some(answer) = answers.next().await {
        let slot = match answer? {
            Answer::NotArchived => &mut counted.readable,
            Answer::Requested => &mut counted.requested,
            Answer::UnderWay => &mut counted.under_way,
        };
        *slot = slot.saturating_add(1);
    }
    Ok(())
}

fn text(counted: &Counted, at: &PlaceInStore, is_done: bool) -> String {
    let said = if is_done {
        "everything can be read: there is nothing to ask back"
    } else {
        "asked back: run this again later to see how far it is"
    };
    format!(
        "{said}\n\n{}",
        fields(&[
            ("pack", safe(&at.shown)),
            ("readable", count(counted.readable, "object")),
            ("asked for now", count(counted.requested, "object")),
            ("under way", count(counted.under_way, "object")),
        ])
    )
}
