//! `runpack lifecycle apply`: the rules are set, among those of others.

use clap::Args;
use runpack_core::lifecycle::StorageClass;
use runpack_core::store::s3::{ClassKept, LifecycleFault, S3Store};

use super::difference::Difference;
use super::{Target, Wanted, bucket};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::profiles;

/// Set the rules in the bucket, among those of others; without --yes only show what would change
///
/// Rules that are not of this store stay as they are. A storage class that the service is not known to have is tried out
/// with a small object, which is removed again. What was set is read back; where the store keeps it otherwise than it was
/// sent, the rules from before are put back.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Apply {
    #[command(flatten)]
    target: Target,
    /// Set them
    #[arg(long)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  runpack lifecycle apply                      # shows what would change
  runpack lifecycle apply s3://evidence/ci --yes

Exit codes: 0 the bucket has the rules, 1 it has not (without --yes), 2 they were not set";

impl Apply {
    pub(super) fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let wanted = self.target.wanted(context)?;
        let storage = wanted.open(context)?;
        let store = bucket(&storage)?;
        let seen = context.wait(store.lifecycle())??;
        let difference = Difference::of(&wanted, &seen);
        if difference.is_none() {
            difference.print(context, &wanted, Some("nothing to set"))?;
            return Ok(Exit::Success);
        }
        if !self.yes {
            let done = "nothing was set: add --yes to set it";
            difference.print(context, &wanted, Some(done))?;
            return Ok(difference.exit());
        }
        context.wait(admitted(store, &wanted))??;
        context
            .wait(store.set_lifecycle(&wanted.rules, &seen))?
            .map_err(not_set)?;
        let done = "the bucket has the rules now: they were read back";
        difference.print(context, &wanted, Some(done))?;
        Ok(Exit::Success)
    }
}

/// Whether the store has what the rules ask for.
async fn admitted(store: &S3Store, wanted: &Wanted) -> Result<(), Failure> {
    if wanted.wishes.dangerous_noncurrent_expiry_days.is_some()
        && !store.object_lock().await?.locks_by_itself()
    {
        return Err(Failure::new(
            "versions that others lie over are removed only in a bucket that locks every version by itself (a default \
             retention): without it, whoever may write lays a version over an artifact and waits",
            "remove `dangerously_remove_noncurrent_after`: `runpack gc` removes residue, and looks at what it removes",
        ));
    }
    let moves = wanted
        .wishes
        .transitions
        .iter()
        .chain(&wanted.wishes.noncurrent);
    let mut classes: Vec<StorageClass> = moves.map(|transition| transition.to).collect();
    classes.sort_unstable();
    classes.dedup();
    for class in classes {
        let why = match store.keeps_class(class, profiles::nonce()).await? {
            ClassKept::Documented | ClassKept::Measured => continue,
            ClassKept::No { instead } => format!(
                "this store does not have the storage class: an object that was written there is not, class=`{class}` \
                 instead=`{instead}`"
            ),
            ClassKept::Unknown { why } => format!(
                "whether this store has the storage class is not known, class=`{class}` why=`{why}`"
            ),
            _ => format!("whether this store has the storage class is not known, class=`{class}`"),
        };
        return Err(Failure::new(
            why,
            "take the class out of `runpacks.lifecycle`, or have it set up at the store",
        ));
    }
    Ok(())
}

fn not_set(fault: LifecycleFault) -> Failure {
    let fault = match fault {
        LifecycleFault::Store(error) => return error.into(),
        other => other,
    };
    let help = match &fault {
        LifecycleFault::Changed => "run it again, and look at what is there now",
        LifecycleFault::Unknown { .. } => {
            "set the rules of `runpack lifecycle rules` by the means by which the others were set"
        }
        LifecycleFault::TooMany { .. } => "take rules away that are not needed any more",
        _ => {
            "run `runpack lifecycle diff`; if nobody else sets rules here, this store does not keep such rules, and they \
             cannot be used with it"
        }
    };
    Failure::new(fault.to_string(), help)
}
