//! A pack in a file store, found by its identity.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::id::{PipelineTenant, RunId, SpecHash, Tenant};
use runpack_core::key::{KeyPrefix, Location};
use runpack_core::manifest::Subject;
use runpack_core::store::{ArtifactReader, FileStore};
use runpack_core::verify::StorePack;

use super::{FilesTarget, Locate};
use crate::context::Context;
use crate::failure::Failure;

/// How many packs of one run are named.
const CANDIDATES_MAX: usize = 20;

pub(super) fn open(
    root: &Path,
    locate: &Locate,
    context: &Context,
) -> Result<FilesTarget, Failure> {
    let store = context.wait(FileStore::open(root))??;
    let subject = subject(&store, locate, context)?;
    let prefix = Location::pack_prefix(&subject);
    let directory = store.root().join(prefix.as_str().trim_end_matches('/'));
    Ok(FilesTarget {
        container: Arc::new(StorePack::new(Arc::new(store), subject.clone())),
        directory,
        subject: Some(subject),
    })
}

/// A part of the identity: flag, else environment, else configuration.
pub(crate) fn part<T>(
    flag: Option<&T>,
    variable: (&str, Option<&OsString>),
    configured: Option<String>,
) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr<Err: std::error::Error> + Clone,
{
    if let Some(flag) = flag {
        return Ok(Some(flag.clone()));
    }
    let (from, text) = match (variable, configured) {
        ((name, Some(value)), _) => (name, value.to_string_lossy().into_owned()),
        ((_, None), Some(value)) => (crate::config::CONFIG_FILE, value),
        ((_, None), None) => return Ok(None),
    };
    text.parse().map(Some).map_err(|error: T::Err| {
        Failure::new(
            format!("an id in {from} is none, id=`{text}`"),
            "correct it",
        )
        .because(&error)
    })
}

fn needed<T>(part: Option<T>, flag: &str) -> Result<T, Failure> {
    part.ok_or_else(|| {
        Failure::new(
            format!("a store holds many packs, and {flag} is not given"),
            "say which pack with --tenant, --namespace, --scenario and --run-id, or with --execution-id, or give the \
             pack's directory as a path without `file:`",
        )
    })
}

fn subject(store: &FileStore, locate: &Locate, context: &Context) -> Result<Subject, Failure> {
    if let Some(execution_id) = &locate.execution_id {
        return Ok(Subject::Execution {
            execution_id: execution_id.clone(),
        });
    }
    let config = context.config()?;
    let environment = &context.environment;
    let tenant = part(
        locate.tenant.as_ref(),
        ("RUNPACK_TENANT", environment.tenant.as_ref()),
        config.tenant,
    )?;
    let tenant: Tenant = needed(tenant, "--tenant")?;
    let run_id: RunId = needed(locate.run_id.clone(), "--run-id")?;
    if let Some(step_id) = &locate.step_id {
        let tenant: PipelineTenant = tenant.as_str().parse().map_err(|error| {
            Failure::new("this is no tenant of a pipeline", "give another --tenant").because(&error)
        })?;
        return Ok(Subject::Step {
            tenant,
            run_id,
            step_id: step_id.clone(),
        });
    }
    let namespace = part(
        locate.namespace.as_ref(),
        ("RUNPACK_NAMESPACE", environment.namespace.as_ref()),
        config.namespace,
    )?;
    let namespace = needed(namespace, "--namespace")?;
    let scenario = part(locate.scenario.as_ref(), ("", None), config.scenario)?;
    let scenario = needed(scenario, "--scenario")?;
    let prefix = Location::runs_prefix(&tenant, Some(&namespace), Some(&scenario), Some(&run_id));
    let spec_hash = if let Some(spec_hash) = locate.spec_hash {
        spec_hash
    } else {
        let found = context.wait(spec_hashes(store, &prefix))??;
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

/// The specs by which there is a pack of one run.
async fn spec_hashes(store: &FileStore, prefix: &KeyPrefix) -> Result<Vec<SpecHash>, Failure> {
    let mut found = Vec::new();
    let mut entries = store.list(prefix);
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
