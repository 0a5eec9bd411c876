//! What must be in the store before what: a commit comes after all that it commits to, a record after the claim that fixed
//! its day, a part of a log after the part before it.

use runpack_core::key::{LiveObject, Location, PipelineObject, RecordObject};

/// What an object waits for while it stands in the spool too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing. A reference to a bundle among them: nobody believes it.
    Nothing,
    /// All keys that begin so: the object commits to them.
    Below(String),
    /// One key: the claim that fixed a record's day.
    Key(String),
    /// All keys that begin so and come before its own: a log's earlier parts.
    Earlier(String),
}

impl After {
    /// Whether it waits for nothing.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// What `location` waits for. Prefixes that wait are nested or apart, so that no two objects wait for each other.
pub(super) fn after(location: &Location) -> After {
    match location {
        Location::Run { artifact: None, .. }
        | Location::Execution { artifact: None, .. }
        | Location::Pipeline {
            object: PipelineObject::StepManifest { .. } | PipelineObject::Manifest,
            ..
        } => {
            let manifest = location.to_string();
            let prefix = manifest.strip_suffix("manifest.json");
            prefix.map_or(After::Nothing, |prefix| After::Below(prefix.to_owned()))
        }
        Location::Record {
            organization,
            project,
            service,
            object: RecordObject::Payload { run_id, .. },
        } => {
            let claim = Location::Record {
                organization: organization.clone(),
                project: project.clone(),
                service: service.clone(),
                object: RecordObject::Claim {
                    run_id: run_id.clone(),
                },
            };
            After::Key(claim.to_string())
        }
        Location::Live {
            execution_id,
            object: LiveObject::LogPart { log, .. },
        } => After::Earlier(Location::live_log_prefix(execution_id, *log).to_string()),
        _ => After::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_all_that_it_commits_to() {
        let spec = "a".repeat(64);
        let run = format!("tenant/t/namespace/n/scenario/s/run/r/{spec}/");
        let below = |prefix: &str| After::Below(prefix.to_owned());
        let execution = "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/";
        let record = "v1/org=o/project=p/service=s/";
        let live = "_runpack/live/01ARZ3NDEKTSV4RRFFQ69G5FAV/";
        let cases = [
            (format!("{run}manifest.json"), below(&run)),
            (format!("{run}{spec}/manifest.txt"), After::Nothing),
            (format!("{execution}manifest.json"), below(execution)),
            (format!("{execution}metadata.json"), After::Nothing),
            (
                "t/runs/r/steps/s/manifest.json".to_owned(),
                below("t/runs/r/steps/s/"),
            ),
            ("t/runs/r/manifest.json".to_owned(), below("t/runs/r/")),
            ("t/runs/r/plan.json".to_owned(), After::Nothing),
            (
                format!("{record}date=2026-11-20/run=r/payload.json"),
                After::Key(format!("{record}runs/r.json")),
            ),
            (format!("{record}runs/r.json"), After::Nothing),
            (
                format!("{live}logs/stdout/{:020}", 7),
                After::Earlier(format!("{live}logs/stdout/")),
            ),
            (format!("{live}opening.json"), After::Nothing),
            (format!("2026/11/r/{spec}.tar.gz"), After::Nothing),
            (
                "registry/agents/a/1/manifest.json".to_owned(),
                After::Nothing,
            ),
        ];
        for (key, expected) in cases {
            let location = Location::parse(&key).unwrap();
            assert_eq!(after(&location), expected, "{key}");
        }
    }
}
