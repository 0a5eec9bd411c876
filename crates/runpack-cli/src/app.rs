//! The program: arguments in, one command run, one exit code out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, CommandFactory as _, FromArgMatches, Parser, Subcommand};
use runpack_core::manifest::Producer;

use crate::clock::Now;
use crate::command::{BuiltIn, Execute as _};
use crate::context::Context;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use crate::settings::ServiceOptions;
use crate::storage::{PlainStorage, StoragePolicy};

const AFTER_HELP: &str = "\
Exit codes:
  0  valid, or done
  1  invalid: something is not as committed or expected (of `diff`: different)
  2  undecided or not done: something could not be read, or the command was wrong
  3  consistent: everything holds, but nothing outside the pack vouches for it";

/// How a program calls itself.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Program {
    /// The name of the binary, and the producer in packs.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it makes of stores.
    pub storage: &'static dyn StoragePolicy,
    arguments: fn(Command) -> Command,
}

impl Program {
    /// A program of this name and version.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            storage: &PlainStorage,
            arguments: |command| command,
        }
    }

    /// The same, with something of its own to make of stores.
    #[must_use]
    pub const fn with_storage(mut self, storage: &'static dyn StoragePolicy) -> Self {
        self.storage = storage;
        self
    }

    /// The same, with global arguments of its own, which [`Context::given`] has.
    #[must_use]
    pub const fn with_arguments(mut self, add: fn(Command) -> Command) -> Self {
        self.arguments = add;
        self
    }
}

/// Commands that a program has beside those of `runpack`.
pub trait Run: Subcommand {
    /// Runs the command.
    ///
    /// # Errors
    /// It was not done.
    fn run(self, context: &Context) -> Result<Exit, Failure>;
}

/// No further commands.
#[derive(Debug, Clone, Copy)]
pub enum NoMore {}

impl Run for NoMore {
    fn run(self, _: &Context) -> Result<Exit, Failure> {
        match self {}
    }
}

impl FromArgMatches for NoMore {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Err(clap::Error::new(ErrorKind::InvalidSubcommand))
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        match *self {}
    }
}

impl Subcommand for NoMore {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(_: &str) -> bool {
        false
    }
}

/// Keep the outputs of a run as an evidence pack, and prove later that nothing was changed
///
/// A pack is a set of files (artifacts) and one manifest that commits to every byte of them and to whose run it was.
/// The pack id is the SHA-256 of the manifest. `export` makes a pack, `verify` proves it, offline.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = false, subcommand_required = true, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli<M: Subcommand> {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Commands<M>,
}

#[derive(Debug, Args)]
struct Global {
    /// Write the result as JSON (Docs/cli/*.schema.json), and errors too
    #[arg(long, global = true, display_order = 900)]
    json: bool,
    /// Configuration file [default: runpack.yaml in the current directory, if it is there]
    #[arg(long, global = true, value_name = "FILE", display_order = 901)]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceOptions,
}

#[derive(Debug, Subcommand)]
enum Commands<M: Subcommand> {
    #[command(flatten)]
    BuiltIn(Box<BuiltIn>),
    #[command(flatten)]
    More(M),
}

/// Runs `runpack` with the arguments of this process.
pub fn main() -> ExitCode {
    main_with::<NoMore>(Program::new("runpack", env!("CARGO_PKG_VERSION")))
}

/// Runs a program that has the commands of `M` beside those of `runpack`.
///
/// ```no_run
/// use runpack_cli::{Context, Exit, Failure, Program, Run};
///
/// #[derive(clap::Subcommand)]
/// enum More {
///     /// Say hello
///     Hello,
/// }
///
/// impl Run for More {
///     fn run(self, context: &Context) -> Result<Exit, Failure> {
///         context.output.print("hello\n")?;
///         Ok(Exit::Success)
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     runpack_cli::main_with::<More>(Program::new("runpack-more", "1.0.0"))
/// }
/// ```
pub fn main_with<M: Run>(program: Program) -> ExitCode {
    let environment = Environment::read();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before the arguments are understood, an error has to be written in some form too.
    let format = if arguments.iter().any(|argument| argument == "--json") {
        Format::Json
    } else {
        Format::Text
    };
    let output = Output::new(format, &environment);
    match run::<M>(program, &arguments, environment, output.clone()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.exit().into()
        }
    }
}

fn run<M: Run>(
    program: Program,
    arguments: &[OsString],
    environment: Environment,
    output: Output,
) -> Result<Exit, Failure> {
    let command = (program.arguments)(Cli::<M>::command())
        .name(program.name)
        .bin_name(program.name)
        .version(program.version);
    let parsed = command
        .clone()
        .try_get_matches_from(arguments)
        .and_then(|given| Ok((Cli::<M>::from_arg_matches(&given)?, given)));
    let (cli, given) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return explain(&error, &used(&command, arguments), &output),
    };
    let context = Context {
        output,
        environment,
        now: Now::read()?,
        command,
        producer: producer(program)?,
        storage: program.storage,
        given,
        config: cli.global.config,
        service: cli.global.service,
        #[cfg(feature = "catalog")]
        catalog: crate::catalog::Upkeep::default(),
        runtime: OnceLock::new(),
    };
    match cli.command {
        Commands::BuiltIn(command) => command.execute(&context),
        Commands::More(command) => command.run(&context),
    }
}

/// `runpack verify`, `runpack store status`: as far as the arguments name a command.
fn used(command: &Command, arguments: &[OsString]) -> String {
    let mut names = vec![command.get_name()];
    let mut deepest = command;
    for argument in arguments.iter().skip(1) {
        if let Some(found) = deepest
            .get_subcommands()
            .find(|sub| sub.get_name() == *argument)
        {
            names.push(found.get_name());
            deepest = found;
        }
    }
    names.join(" ")
}

fn producer(program: Program) -> Result<Producer, Failure> {
    let wrong = |error: &dyn std::error::Error| {
        Failure::new(
            "this program's name or version cannot stand in a pack",
            "report it",
        )
        .because(error)
    };
    Ok(Producer {
        name: program.name.parse().map_err(|error| wrong(&error))?,
        version: program.version.parse().map_err(|error| wrong(&error))?,
    })
}

/// Help and version are results; everything else that clap says is an error in our form.
fn explain(error: &clap::Error, used: &str, output: &Output) -> Result<Exit, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let rendered = error.render();
            output.print_help(&rendered)?;
            return Ok(Exit::Success);
        }
        _ => {}
    }
    let rendered = error.render().to_string();
    let mut message = Vec::new();
    let mut help = Vec::new();
    let mut is_message = true;
    for line in rendered
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        if let Some(tip) = line.strip_prefix("tip: ") {
            help.push(tip.to_owned());
        } else if line.starts_with("Usage: ") || line.starts_with("For more information") {
            is_message = false;
        } else if is_message {
            message.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        message = vec!["a command is missing"];
    }
    help.push(format!("`{used} --help` shows what there is"));
    Err(Failure::new(message.join(" "), help.join("; ")))
}
