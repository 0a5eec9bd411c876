//! The run of a pipeline: what it was to do, what each step did, and one pack that commits to all of it
//! (specification, sections 6 and 14).
//!
//! | document | type | in the run's pack as |
//! |---|---|---|
//! | what the pipeline is | [`definition`] | `definition.yaml` |
//! | which steps there are to be | [`Plan`] | `plan.json` |
//! | what happened | [`Trail`] | `events/audit_trail.jsonl` |
//! | what became of the steps | [`Metadata`] | `metadata.json` |
//! | who did a step | [`AgentEntry`] | not: the registry is of the whole store |
//!
//! A run is [`begin`](begin::begin), its steps are committed as packs of their own ([`step`]), and [`finish`](finish::finish)
//! commits the run's pack, which lists the manifest of every step. [`PipelineRun`] verifies all of it.
//!
//! Invariants: every document has one spelling, and its bounds; the run's pack id stands for the pack id of every step;
//! metadata says nothing that does not follow from plan and trail; the trail is written to the store before all else of
//! the end, so that of several finishers one wins and anybody can go on where it died.

mod agent;
mod agree;
pub mod begin;
mod bring;
pub mod definition;
mod document;
pub mod finish;
mod kept;
mod metadata;
mod order;
mod plan;
mod run;
pub mod step;
mod story;
mod trail;

pub use agent::{
    AgentEntry, AgentFile, AgentImage, AgentModel, AgentName, Registered, check_agents,
    fetch_agent, register_agent,
};
pub use bring::BringError;
pub use document::{DOCUMENT_BYTES_MAX, DocumentError};
pub use metadata::{Metadata, Outcome, StepOutcome};
pub use plan::{
    DEPTH_MAX, Plan, PlanError, PlannedAgent, PlannedInput, PlannedStep, STEPS_MAX, Whence,
};
pub use run::{PipelineRun, RunReport, VerifiedStep};
pub use story::{Begun, Committed, Ended, Story, StoryError};
pub use trail::{
    Action, Detail, Event, Head, Line, TRAIL_BYTES_MAX, Trail, TrailError, TrailFault,
};

#[cfg(test)]
mod tests;
