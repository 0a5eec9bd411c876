//! A pack in a store, found by its identity, by its id, or by where it is.

use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::id::{PackId, PipelineTenant, RunId, SpecHash, Tenant};
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Subject;
use runpack_core::reference::{self, ReferenceError};
use runpack_core::retention::removed;
use runpack_core::store::{ArtifactReader, StoreError, Stored};
use runpack_core::verify::StorePack;

use super::{BundleTarget, FilesAt, FilesTarget, Locate, Target};
use crate::check;
use crate::context::Context;
use crate::failure::Failure;
use crate::sources;
use crate::storage::{Storage, Within};

/// How many packs of one run are named.
const CANDIDATES_MAX: usize = 20;
/// How many objects are looked through for a pack that no reference leads to.
const LOOKED_MAX: usize = 1_000_000;

pub(super) fn find(
    storage: Storage,
    within: Option<Within>,
    locate: &Locate,
    context: &Context,
) -> Result<Target, Failure> {
    match (within, locate.pack_id) {
        (Some(Within::Pack(subject)), _) => Ok(files(storage, *subject, None)),
        (Some(Within::Bundle(key)), _) => bundle(storage, &key, None, context),
        (None, Some(pack_id)) => by_id(storage, pack_id, context),
        (None, None) => {
            let subject = subject(&storage, locate, context)?;
            Ok(files(storage, subject, None))
        }
    }
}

pub(super) fn files(storage: Storage, subject: Subject, pack_id: Option<PackId>) -> Target {
    Target::Files(FilesTarget {
        container: Arc::new(StorePack::new(storage.reader(), subject.clone())),
        at: FilesAt::Store {
            storage: Box::new(storage),
            subject,
            pack_id,
        },
    })
}

pub(super) fn bundle(
    storage: Storage,
    key: &ObjectKey,
    asked: Option<PackId>,
    context: &Context,
) -> Result<Target, Failure> {
    let object = context.wait(Stored::find(storage.reader(), key))??;
    // Only such keys come here.
    let Some(Location::Bundle { pack_id, .. }) = Location::parse(key.as_str()) else {
        return Err(Failure::new(
            format!("this is no bundle's place, key=`{key}`"),
            "give the place of a bundle, as `runpack list` shows it",
        ));
    };
    Ok(Target::Bundle(BundleTarget::Stored {
        storage: Box::new(storage),
        object,
        placed: pack_id,
        asked,
    }))
}

/// Files come before a bundle: they are read side by side.
fn by_id(storage: Storage, pack_id: PackId, context: &Context) -> Result<Target, Failure> {
    let reader = storage.reader();
    let found = context.wait(reference::resolve(
        &reader,
        pack_id,
        &Limits::default(),
        LOOKED_MAX,
    ))?;
    let found = match found {
        Err(ReferenceError::Store(StoreError::NotFound { .. }))
            if sources::may_lack(storage.failover()) =>
        {
            return Err(lacking(&format!("pack_id=`{pack_id}`")));
        }
        Err(ReferenceError::Store(StoreError::NotFound { .. })) => {
            let missing = Failure::new(
                format!(
                    "the store has no pack with this id, pack_id=`{pack_id}` store=`{}`",
                    storage.shown()
                ),
                "check the id and the store; `runpack list` shows the packs of a store",
            );
            let removed = context.wait(removed(&*reader, pack_id, None))?;
            let note = removed.as_ref().map(check::removed_note);
            return Err(missing.with_details(note.into_iter().collect()));
        }
        found => found?,
    };
    match (found.subject, found.bundle) {
        (Some(subject), _) => Ok(files(storage, subject, Some(pack_id))),
        (None, Some(key)) => bundle(storage, &key, Some(pack_id), context),
        (None, None) => Err(Failure::new(
            format!("the store has no pack with this id, pack_id=`{pack_id}`"),
            "check the id and the store",
        )),
    }
}

/// What a replica does not have may be in the region all the same.
fn lacking(what: &str) -> Failure {
    Failure::new(
        format!("the region is away, and its replicas do not have what is asked for, {what}"),
        "try again when the region is back: what is new may not have reached its replicas",
    )
}

fn needed<T>(part: Option<T>, flag: &str) -> Result<T, Failure> {
    part.ok_or_else(|| {
        Failure::new(
            format!("a store holds many packs, and {flag} is not given"),
            "say which pack with --tenant, --namespace, --scenario and --run-id, with --tenant, --run-id and --pipeline or --step-id, with --execution-id, or with --pack-id",
        )
    })
}

fn subject(storage: &Storage, locate: &Locate, context: &Context) -> Result<Subject, Failure> {
    if let Some(execution_id) = &locate.execution_id {
        return Ok(Subject::Execution {
            execution_id: execution_id.clone(),
        });
    }
    let whose = locate.run.whose(context)?;
    let tenant: Tenant = needed(whose.tenant, "--tenant")?;
    let run_id: RunId = needed(locate.run.run_id.clone(), "--run-id")?;
    if let Some(step_id) = &locate.step_id {
        return Ok(Subject::Step {
            tenant: pipeline_tenant(&tenant)?,
            run_id,
            step_id: step_id.clone(),
        });
    }
    if locate.pipeline {
        let tenant = pipeline_tenant(&tenant)?;
        return Ok(Subject::Pipeline { tenant, run_id });
    }
    let namespace = needed(whose.namespace, "--namespace")?;
    let scenario = needed(whose.scenario, "--scenario")?;
    let prefix = Location::runs_prefix(&tenant, Some(&namespace), Some(&scenario), Some(&run_id));
    let spec_hash = if let Some(spec_hash) = locate.spec_hash {
        spec_hash
    } else {
        let found = context.wait(spec_hashes(&storage.reader(), &prefix))??;
        if found.is_empty() && sources::may_lack(storage.failover()) {
            return Err(lacking(&format!("prefix=`{}`", prefix.as_str())));
        }
        only(&found, prefix.as_str())?
    };
    Ok(Subject::Run {
        tenant,
        namespace,
        scenario,
        run_id,
        spec_hash,
    })
}

/// A tenant as pipelines have them.
pub(crate) fn pipeline_tenant(tenant: &Tenant) -> Result<PipelineTenant, Failure> {
    tenant.as_str().parse().map_err(|error| {
        Failure::new("this is no tenant of a pipeline", "give another --tenant").because(&error)
    })
}

/// The specs by which there is a pack of one run.
async fn spec_hashes(
    reader: &Arc<dyn ArtifactReader>,
    prefix: &KeyPrefix,
) -> Result<Vec<SpecHash>, Failure> {
    let mut found = Vec::new();
    let mut entries = reader.list(prefix);
    while let Some(entry) = entries.next().await {
        if let Some(Location::Run {
            spec_hash,
            artifact: None,
            ..
        }) = Location::parse(&entry?.key)
        {
            found.push(spec_hash);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn only(found: &[SpecHash], prefix: &str) -> Result<SpecHash, Failure> {
    match found {
        [only] => Ok(*only),
        [] => Err(Failure::new(
            format!("the store has no pack of this run, prefix=`{prefix}`"),
            "check the identity; `runpack list` shows the packs of a store",
        )),
        several => Err(Failure::new(
            format!(
                "this run has {} packs, by as many specs, prefix=`{prefix}`",
                several.len()
            ),
            "say which with --spec-hash",
        )
        .with_details(
            several
                .iter()
                .take(CANDIDATES_MAX)
                .map(ToString::to_string)
                .collect(),
        )),
    }
}
