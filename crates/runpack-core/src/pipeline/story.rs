//! What a trail tells of a run: how it began, which steps were committed, how it ended.
//!
//! Runpack's own events are `run.begin` (first), `step.commit` (once a step) and `run.finish` (last, and nothing after
//! it); whatever else stands between them is the pipeline's. What is wrong in them is told with its line.

use std::collections::BTreeMap;
use std::fmt;

use super::agent::AgentName;
use super::metadata::Outcome;
use super::trail::{Action, Detail, Event, Line, Trail};
use crate::digest::Digest;
use crate::id::{PackId, PipelineHash, PipelineTenant, RunId, StepId};
use crate::manifest::{LabelKey, Text};
use crate::time::Timestamp;

const BEGIN: &str = "run.begin";
const COMMIT: &str = "step.commit";
pub(super) const FINISH: &str = "run.finish";

/// What a trail tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// How it began.
    pub begun: Begun,
    /// The steps that were committed.
    pub steps: BTreeMap<StepId, Committed>,
    /// How it ended; `None` while it runs.
    pub finished: Option<Ended>,
}

/// How a run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Whose pipeline it is.
    pub tenant: PipelineTenant,
    /// Which run.
    pub run_id: RunId,
    /// What the pipeline is.
    pub pipeline_hash: PipelineHash,
    /// The SHA-256 of `plan.json`.
    pub plan: Digest,
    /// When.
    pub at: Timestamp,
}

/// A step that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its pack.
    pub pack: PackId,
    /// What became of it.
    pub outcome: Outcome,
    /// Who did it, where somebody is named.
    pub agent: Option<AgentName>,
}

/// What a trail does not tell as it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail tells no run, line=`{line}`: {fault}")]
pub struct StoryError {
    /// Which line, from 1.
    pub line: u64,
    /// What is wrong.
    pub fault: &'static str,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
}

impl Begun {
    /// The first event of a run.
    pub fn event(&self) -> Event {
        let detail = detail([
            ("definition", &self.pipeline_hash),
            ("plan", &self.plan),
            ("run_id", &self.run_id),
            ("tenant", &self.tenant),
        ]);
        event(BEGIN, self.at, detail)
    }
}

impl Committed {
    /// The event that a step was committed.
    pub fn event(&self, step: &StepId, at: Timestamp) -> Event {
        let detail = detail([("outcome", &self.outcome), ("pack", &self.pack)]);
        Event {
            step: Some(step.clone()),
            agent: self.agent.clone(),
            ..event(COMMIT, at, detail)
        }
    }
}

impl Ended {
    /// The last event of a run.
    pub fn event(&self) -> Event {
        event(FINISH, self.at, detail([("outcome", &self.outcome)]))
    }
}

fn detail<const N: usize>(facts: [(&'static str, &dyn fmt::Display); N]) -> Detail {
    let facts = facts.into_iter();
    facts
        .map(|(name, fact)| (LabelKey::known(name), Text::known(&fact)))
        .collect()
}

fn event(action: &'static str, at: Timestamp, detail: Detail) -> Event {
    Event {
        action: Action::known(action),
        at,
        step: None,
        agent: None,
        detail,
    }
}

impl Story {
    /// What `trail` tells.
    ///
    /// # Errors
    /// It does not begin as a run does; an event of Runpack's own is not as it is written; something follows the end.
    pub fn of(trail: &Trail) -> Result<Self, StoryError> {
        let mut lines = trail.lines().iter();
        let first = lines.next().filter(|line| line.action.as_str() == BEGIN);
        let begun = first.and_then(begun).ok_or(StoryError {
            line: 1,
            fault: "it is not how a run begins",
        })?;
        let mut story = Self {
            begun,
            steps: BTreeMap::new(),
            finished: None,
        };
        for line in lines {
            story.take(line).map_err(|fault| StoryError {
                line: line.sequence.saturating_add(1),
                fault,
            })?;
        }
        Ok(story)
    }

    fn take(&mut self, line: &Line) -> Result<(), &'static str> {
        if self.finished.is_some() {
            return Err("it comes after the end of the run");
        }
        match line.action.as_str() {
            COMMIT => {
                let (step, committed) =
                    committed(line).ok_or("it is not how a step is committed")?;
                if self.steps.insert(step, committed).is_some() {
                    return Err("this step was committed before");
                }
            }
            FINISH => {
                let outcome = only(&line.detail, ["outcome"])
                    .and_then(|[outcome]| outcome.as_str().parse().ok())
                    .ok_or("it is not how a run ends")?;
                self.finished = Some(Ended {
                    at: line.at,
                    outcome,
                });
            }
            BEGIN => return Err("a run begins once"),
            _ if line.action.is_reserved() => return Err("this action has no meaning here"),
            _ => {}
        }
        Ok(())
    }
}

fn begun(line: &Line) -> Option<Begun> {
    let [definition, plan, run_id, tenant] =
        only(&line.detail, ["definition", "plan", "run_id", "tenant"])?;
    Some(Begun {
        tenant: tenant.as_str().parse().ok()?,
        run_id: run_id.as_str().parse().ok()?,
        pipeline_hash: definition.as_str().parse().ok()?,
        plan: plan.as_str().parse().ok()?,
        at: line.at,
    })
}

fn committed(line: &Line) -> Option<(StepId, Committed)> {
    let [outcome, pack] = only(&line.detail, ["outcome", "pack"])?;
    let committed = Committed {
        pack: pack.as_str().parse().ok()?,
        outcome: outcome.as_str().parse().ok()?,
        agent: line.agent.clone(),
    };
    Some((line.step.clone()?, committed))
}

/// The facts of these names, in their order, if there are these and no others.
fn only<'a, const N: usize>(detail: &'a Detail, names: [&str; N]) -> Option<[&'a Text<1024>; N]> {
    let found = detail.iter().map(|(name, fact)| (name.as_str(), fact));
    let (keys, facts): (Vec<_>, Vec<_>) = found.unzip();
    (keys == names).then_some(())?;
    facts.try_into().ok()
}
