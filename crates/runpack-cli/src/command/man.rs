//! `runpack man`: manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use serde_json::{Value, json};

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::table::safe;

/// Print the manual page, or write one for each command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runpack man | man -l -
  runpack man --out ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Write all pages to this directory, over what it has of them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Execute for Man {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let mut command = context.command.clone();
        command.build();
        let mut pages = vec![page(&command, command.get_name())?];
        for sub in command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
        {
            pages.push(page(
                sub,
                &format!("{}-{}", command.get_name(), sub.get_name()),
            )?);
        }
        match (&self.out, context.output.format()) {
            (Some(directory), format) => write(directory, &pages, format, context)?,
            (None, Format::Text) => {
                let first = pages.first().map_or("", |(_, text)| text.as_str());
                context.output.print(first)?;
            }
            (None, Format::Json) => {
                let pages: Vec<Value> = pages
                    .iter()
                    .map(|(name, text)| json!({ "name": name, "text": text }))
                    .collect();
                context.output.print_json(&json!({ "pages": pages }))?;
            }
        }
        Ok(Exit::Success)
    }
}

/// `(file name, text)`
fn page(command: &Command, name: &str) -> Result<(String, String), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new("a manual page could not be made", "report it").because(error)
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .render(&mut text)
        .map_err(|error| failed(&error))?;
    let text = String::from_utf8(text).map_err(|error| failed(&error))?;
    Ok((format!("{name}.1"), text))
}

fn write(
    directory: &Path,
    pages: &[(String, String)],
    format: Format,
    context: &Context,
) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(
            format!(
                "the manual pages could not be written, path=`{}`",
                directory.display()
            ),
            "check that the directory may be written to",
        )
        .because(error)
    };
    std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    let mut written = Vec::new();
    for (name, text) in pages {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&error))?;
        written.push(path.to_string_lossy().into_owned());
    }
    match format {
        Format::Json => context.output.print_json(&json!({ "written": written })),
        Format::Text => {
            let lines: Vec<String> = written.iter().map(|path| safe(path)).collect();
            context.output.print(&format!("{}\n", lines.join("\n")))
        }
    }
}
