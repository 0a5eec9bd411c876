//! `runpack pipeline event`: a line of the pipeline's own in the trail.

use std::path::PathBuf;

use clap::Args;
use runpack_core::id::StepId;
use runpack_core::manifest::{LabelKey, Text};
use runpack_core::pipeline::{Action, AgentName, Detail, Event};
use serde_json::json;

use super::trail_file::{Missing, TrailFile};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;

/// Write a line to the trail of a run
///
/// The line is durable when the command returns. Nothing is sent; `finish` brings the trail to the store.
#[derive(Debug, Args)]
pub(crate) struct EventCommand {
    /// What was done: lower-case letters, digits and `.` `_` `-`, as in `approval.given`
    #[arg(value_name = "ACTION")]
    action: Action,
    /// The file of the run's trail
    #[arg(long, value_name = "FILE")]
    trail: PathBuf,
    /// In which step
    #[arg(long, value_name = "STEP")]
    step: Option<StepId>,
    /// By which agent
    #[arg(long, value_name = "NAME@VERSION")]
    agent: Option<AgentName>,
    /// What else is to be known, and no secret; may be given several times
    #[arg(long = "detail", value_name = "KEY=VALUE", value_parser = parse_detail)]
    detail: Vec<(LabelKey, Text<1024>)>,
}

fn parse_detail(text: &str) -> Result<(LabelKey, Text<1024>), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("a detail is written KEY=VALUE")?;
    let key = key.parse().map_err(|error| format!("{error}"))?;
    let value = value.parse().map_err(|error| format!("{error}"))?;
    Ok((key, value))
}

impl Execute for EventCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        if self.action.is_reserved() {
            return Err(Failure::new(
                format!(
                    "actions that begin with `run.` and `step.` are written by runpack alone, action=`{}`",
                    self.action
                ),
                "give the action another name",
            ));
        }
        let mut trail = TrailFile::open(&self.trail, Missing::Refuse, context)?;
        if trail.story()?.finished.is_some() {
            return Err(Failure::new(
                format!(
                    "the run has ended, and nothing follows its end, path=`{}`",
                    self.trail.display()
                ),
                "write what belongs to another run to that run's trail",
            ));
        }
        let mut detail = Detail::new();
        for (key, value) in self.detail {
            if detail.insert(key.clone(), value).is_some() {
                return Err(Failure::new(
                    format!("a detail is given twice, key=`{key}`"),
                    "give each key once",
                ));
            }
        }
        let head = trail.append(Event {
            action: self.action,
            at: context.now.time,
            step: self.step,
            agent: self.agent,
            detail,
        })?;
        match context.output.format() {
            Format::Json => context
                .output
                .print_json(&json!({"entries": head.entries, "last": head.last}))?,
            Format::Text => context.output.print(&format!("line {}\n", head.entries))?,
        }
        Ok(Exit::Success)
    }
}
