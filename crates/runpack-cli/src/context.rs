//! What every command is given.

use std::future::Future;
use std::path::PathBuf;

use runpack_core::limits::Limits;
use runpack_core::manifest::Producer;

use crate::clock::Now;
use crate::config::Config;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::limits::LimitOptions;
use crate::output::Output;

/// What every command is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Context {
    /// Where results go.
    pub output: Output,
    /// What the environment says.
    pub environment: Environment,
    /// When the command was started.
    pub now: Now,
    /// The whole command line of this program, for completions and manual pages.
    pub command: clap::Command,
    /// The program as it names itself in packs.
    pub producer: Producer,
    pub(crate) config: Option<PathBuf>,
}

impl Context {
    /// Waits for work of the core. Its own threads do the heavy part.
    ///
    /// # Errors
    /// No runtime can be made here.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| {
                Failure::new(
                    "the program could not be started",
                    "check the limits on processes and open files, then try again",
                )
                .because(&error)
            })?;
        Ok(runtime.block_on(work))
    }

    /// The configuration file.
    ///
    /// # Errors
    /// It is not one, or `--config` names none.
    pub fn config(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref())
    }

    /// The bounds of a reader: flag over environment over default.
    ///
    /// # Errors
    /// The environment does not hold a number.
    pub fn limits(&self, options: &LimitOptions) -> Result<Limits, Failure> {
        options.limits(&self.environment)
    }
}
