//! From a key back to its location. Each arm reads what the matching arm of `Display` writes; the
//! caller holds the two against each other.

use super::{Day, DeletionObject, LiveObject, Location, Month, PipelineObject, RecordObject};
use crate::id::PackId;
use crate::manifest::Subject;
use crate::name::ArtifactName;

/// The location that `key` spells, in some spelling.
pub(super) fn location(key: &str) -> Option<Location> {
    let (first, rest) = key.split_once('/')?;
    match first {
        "tenant" => run(rest),
        "v1" => record(rest),
        "executions" => execution(rest),
        "registry" => agent(rest),
        "_runpack" => own(rest),
        year if year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()) => {
            bundle(year, rest)
        }
        tenant => pipeline(tenant, rest),
    }
}

fn run(rest: &str) -> Option<Location> {
    let mut parts = rest.splitn(9, '/');
    let mut next = || parts.next();
    let tenant = next()?.parse().ok()?;
    (next()? == "namespace").then_some(())?;
    let namespace = next()?.parse().ok()?;
    (next()? == "scenario").then_some(())?;
    let scenario = next()?.parse().ok()?;
    (next()? == "run").then_some(())?;
    let run_id = next()?.parse().ok()?;
    let spec_hash = crate::id::SpecHash::new(next()?.parse().ok()?);
    let artifact = match next()? {
        "manifest.json" => None,
        artifact => {
            let (commitment, name) = artifact.split_once('/')?;
            Some((commitment.parse().ok()?, name.parse().ok()?))
        }
    };
    Some(Location::Run {
        tenant,
        namespace,
        scenario,
        run_id,
        spec_hash,
        artifact,
    })
}

fn bundle(year: &str, rest: &str) -> Option<Location> {
    let (month, rest) = rest.split_once('/')?;
    let (run_id, file) = rest.split_once('/')?;
    let month = Month {
        year: year.parse().ok()?,
        month: month.parse().ok()?,
    };
    ((1970..=9999).contains(&month.year) && (1..=12).contains(&month.month)).then_some(())?;
    let pack_id = PackId::new(file.strip_suffix(".tar.gz")?.parse().ok()?);
    Some(Location::Bundle {
        month,
        run_id: run_id.parse().ok()?,
        pack_id,
    })
}

fn pipeline(tenant: &str, rest: &str) -> Option<Location> {
    let tenant = tenant.parse().ok()?;
    if let Some(rest) = rest.strip_prefix("pipelines/") {
        let definition = rest.strip_suffix("/definition.yaml")?.parse().ok()?;
        return Some(Location::PipelineDefinition { tenant, definition });
    }
    let (run_id, object) = rest.strip_prefix("runs/")?.split_once('/')?;
    let object = match object {
        "manifest.json" => PipelineObject::Manifest,
        "plan.json" | "metadata.json" | "events/audit_trail.jsonl" => PipelineObject::Artifact {
            name: object.parse().ok()?,
        },
        step => {
            let (step_id, object) = step.strip_prefix("steps/")?.split_once('/')?;
            let step_id = step_id.parse().ok()?;
            if object == "manifest.json" {
                PipelineObject::StepManifest { step_id }
            } else {
                let name: ArtifactName = object.parse().ok()?;
                let side = name.components().next()?;
                (matches!(side, "inputs" | "outputs") && side != object).then_some(())?;
                PipelineObject::StepArtifact { step_id, name }
            }
        }
    };
    Some(Location::Pipeline {
        tenant,
        run_id: run_id.parse().ok()?,
        object,
    })
}

fn agent(rest: &str) -> Option<Location> {
    let (agent, version) = rest
        .strip_prefix("agents/")?
        .strip_suffix("/manifest.json")?
        .split_once('/')?;
    Some(Location::Agent {
        agent: agent.parse().ok()?,
        version: version.parse().ok()?,
    })
}

fn record(rest: &str) -> Option<Location> {
    let mut parts = rest.splitn(4, '/');
    let mut next = || parts.next();
    let organization = next()?.strip_prefix("org=")?.parse().ok()?;
    let project = next()?.strip_prefix("project=")?.parse().ok()?;
    let service = next()?.strip_prefix("service=")?.parse().ok()?;
    let object = match next()? {
        "latest.json" => RecordObject::Latest,
        object => {
            if let Some(run_id) = object.strip_prefix("runs/") {
                RecordObject::Claim {
                    run_id: run_id.strip_suffix(".json")?.parse().ok()?,
                }
            } else if let Some(daily) = object.strip_prefix("manifests/date=") {
                RecordObject::Daily {
                    day: day(daily.strip_suffix(".jsonl")?)?,
                }
            } else {
                let (date, run) = object.strip_prefix("date=")?.split_once("/run=")?;
                let run_id = run.strip_suffix("/payload.json")?.parse().ok()?;
                RecordObject::Payload {
                    day: day(date)?,
                    run_id,
                }
            }
        }
    };
    Some(Location::Record {
        organization,
        project,
        service,
        object,
    })
}

fn day(text: &str) -> Option<Day> {
    text.parse().ok()
}

fn live(object: &str) -> Option<LiveObject> {
    if object == "opening.json" {
        return Some(LiveObject::Opening);
    }
    if let Some(name) = object.strip_prefix("uploads/") {
        let name = name.strip_suffix(".json")?.parse().ok()?;
        return Some(LiveObject::Upload { name });
    }
    let (log, offset) = object.strip_prefix("logs/")?.split_once('/')?;
    Some(LiveObject::LogPart {
        log: log.parse().ok()?,
        offset: offset.parse().ok()?,
    })
}

fn execution(rest: &str) -> Option<Location> {
    let (id, object) = rest.split_once('/')?;
    let subject = Subject::Execution {
        execution_id: id.parse().ok()?,
    };
    let artifact = match object {
        "manifest.json" => None,
        name => Some(name.parse().ok().filter(|name| subject.admits(name))?),
    };
    Some(Location::Execution {
        execution_id: id.parse().ok()?,
        artifact,
    })
}

fn own(rest: &str) -> Option<Location> {
    let (what, id) = rest.split_once('/')?;
    match what {
        "refs" => Some(Location::Reference {
            pack_id: PackId::new(id.parse().ok()?),
        }),
        "receipts" => {
            let (pack_id, receipt) = id.split_once('/')?;
            Some(Location::Receipt {
                pack_id: PackId::new(pack_id.parse().ok()?),
                receipt: receipt.strip_suffix(".json")?.parse().ok()?,
            })
        }
        "holds" => Some(Location::Hold {
            sequence: id.strip_suffix(".json")?.parse().ok()?,
        }),
        "audit" => {
            let mut parts = id.strip_prefix("deletions/")?.splitn(3, '/');
            let mut next = || parts.next();
            Some(Location::Deletion {
                pack_id: PackId::new(next()?.parse().ok()?),
                removal: next()?.parse().ok()?,
                object: DeletionObject::of_file_name(next()?)?,
            })
        }
        "live" => {
            let (execution_id, object) = id.split_once('/')?;
            Some(Location::Live {
                execution_id: execution_id.parse().ok()?,
                object: live(object)?,
            })
        }
        "probe" => Some(Location::Probe {
            probe: id.parse().ok()?,
        }),
        _ => None,
    }
}
