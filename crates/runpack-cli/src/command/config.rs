//! `runpack config show`: what counts, and where it comes from.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::settings::Shown;
use crate::table::{Align, columns, safe};

/// Look at the configuration
#[derive(Debug, Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show every setting that counts, and where it comes from
    ///
    /// Flags come before the environment, the environment before runpack.yaml, that before defaults. Of credentials it
    /// is shown whether they are set, and never what they are.
    Show,
}

impl Execute for ConfigCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let What::Show = self.what;
        let (config, settings) = (context.config()?, context.settings()?);
        let shown = settings.shown(context)?;
        match context.output.format() {
            Format::Json => {
                let settings: Vec<Value> = shown.iter().map(Shown::to_json).collect();
                context.output.print_json(&json!({
                    "file": config.path.map(|path| path.display().to_string()),
                    "settings": settings,
                }))?;
            }
            Format::Text => {
                let rows: Vec<Vec<String>> = shown.iter().map(Shown::cells).collect();
                let align = [Align::Left, Align::Left, Align::Left];
                context.output.print(&columns(&align, &rows))?;
            }
        }
        Ok(Exit::Success)
    }
}

impl Shown {
    fn to_json(&self) -> Value {
        let (origin, name) = self.origin.named();
        json!({ "key": self.key, "value": self.value, "origin": origin, "name": name })
    }

    fn cells(&self) -> Vec<String> {
        let value = self.value.as_deref().map_or_else(|| "-".to_owned(), safe);
        vec![self.key.to_owned(), value, safe(&self.origin.to_string())]
    }
}
