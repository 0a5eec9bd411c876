//! `runpack completions`: what a shell needs to complete commands.

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;

/// Print what a shell needs to complete commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runpack completions bash > ~/.local/share/bash-completion/completions/runpack
  runpack completions zsh > ~/.zfunc/_runpack
  runpack completions fish > ~/.config/fish/completions/runpack.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Execute for Completions {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let mut command = context.command.clone();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        let script = String::from_utf8_lossy(&script);
        match context.output.format() {
            Format::Json => context
                .output
                .print_json(&json!({ "shell": self.shell.to_string(), "script": script }))?,
            Format::Text => context.output.print(&script)?,
        }
        Ok(Exit::Success)
    }
}
