//! Parts of the key space: where to list.

use super::{Day, KeyPrefix, Location, Log};
use crate::id::{
    ExecutionId, Namespace, Organization, PackId, Project, RunId, Scenario, Service, Tenant,
};
use crate::manifest::Subject;

impl Location {
    /// The part of the key space that holds the packs of these runs, whatever their specifications. A
    /// part that is not given leaves out all after it.
    pub fn runs_prefix(
        tenant: &Tenant,
        namespace: Option<&Namespace>,
        scenario: Option<&Scenario>,
        run_id: Option<&RunId>,
    ) -> KeyPrefix {
        let mut prefix = format!("tenant/{tenant}/");
        let further = [
            ("namespace", namespace.map(ToString::to_string)),
            ("scenario", scenario.map(ToString::to_string)),
            ("run", run_id.map(ToString::to_string)),
        ];
        for (segment, id) in further {
            let Some(id) = id else { break };
            prefix.extend([segment, "/", &id, "/"]);
        }
        KeyPrefix(prefix.into())
    }

    /// The part of the key space that holds a service's records of one day, or with `None` all that is kept of it.
    pub fn records_prefix(
        organization: &Organization,
        project: &Project,
        service: &Service,
        day: Option<Day>,
    ) -> KeyPrefix {
        let mut prefix = format!("v1/org={organization}/project={project}/service={service}/");
        if let Some(day) = day {
            prefix.extend(["date=", &day.to_string(), "/"]);
        }
        KeyPrefix(prefix.into())
    }

    /// The part of the key space that holds all records.
    pub fn all_records_prefix() -> KeyPrefix {
        KeyPrefix("v1/".into())
    }

    /// The part of the key space that holds what is known of executions while they run: of one, or of all.
    pub fn live_prefix(execution_id: Option<&ExecutionId>) -> KeyPrefix {
        KeyPrefix(match execution_id {
            Some(id) => format!("_runpack/live/{id}/").into(),
            None => "_runpack/live/".into(),
        })
    }

    /// The part of the key space that holds what was written of a log while its execution runs.
    pub fn live_log_prefix(execution_id: &ExecutionId, log: Log) -> KeyPrefix {
        KeyPrefix(format!("_runpack/live/{execution_id}/logs/{log}/").into())
    }

    /// The part of the key space that holds what was uploaded to an execution while it runs.
    pub fn live_uploads_prefix(execution_id: &ExecutionId) -> KeyPrefix {
        KeyPrefix(format!("_runpack/live/{execution_id}/uploads/").into())
    }

    /// The part of the key space that holds the ledger of holds.
    pub fn holds_prefix() -> KeyPrefix {
        KeyPrefix("_runpack/holds/".into())
    }

    /// The part of the key space that holds what is written down of removals by plan: of one pack, or of all.
    pub fn deletions_prefix(pack_id: Option<PackId>) -> KeyPrefix {
        KeyPrefix(match pack_id {
            Some(id) => format!("_runpack/audit/deletions/{}/", id.digest()).into(),
            None => "_runpack/audit/deletions/".into(),
        })
    }

    /// The part of the key space that holds receipts of a pack's versions.
    pub fn receipts_prefix(pack_id: PackId) -> KeyPrefix {
        KeyPrefix(format!("_runpack/receipts/{}/", pack_id.digest()).into())
    }

    /// The part of the key space that holds probes of what a store does. They are nobody's evidence.
    pub fn probes_prefix() -> KeyPrefix {
        KeyPrefix("_runpack/probe/".into())
    }

    /// The part of the key space that a pack about `subject` has for itself.
    pub fn pack_prefix(subject: &Subject) -> KeyPrefix {
        let manifest = Self::manifest(subject).to_string();
        KeyPrefix(
            manifest
                .strip_suffix("manifest.json")
                .unwrap_or_default()
                .into(),
        )
    }
}
