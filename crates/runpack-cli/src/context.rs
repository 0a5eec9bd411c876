//! What every command is given.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use runpack_core::limits::Limits;
use runpack_core::manifest::Producer;

use crate::clock::Now;
use crate::config::Config;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::limits::LimitOptions;
use crate::output::Output;
use crate::settings::{ServiceOptions, Settings};
use crate::storage::StoragePolicy;

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
    /// What this program makes of stores.
    pub storage: &'static dyn StoragePolicy,
    /// What was given on the command line, for arguments that a program has of its own
    /// ([`Program::with_arguments`](crate::Program::with_arguments)).
    pub given: clap::ArgMatches,
    pub(crate) config: Option<PathBuf>,
    pub(crate) service: ServiceOptions,
    /// The catalog that is kept up with commits.
    #[cfg(feature = "catalog")]
    pub(crate) catalog: crate::catalog::Upkeep,
    /// One for the whole command: connections to a store live as long as it does.
    pub(crate) runtime: OnceLock<tokio::runtime::Runtime>,
}

impl Context {
    /// Waits for work of the core. Its own threads do the heavy part.
    ///
    /// # Errors
    /// No runtime can be made here.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        if self.runtime.get().is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| cannot_start().because(&error))?;
            // A command has one thread that comes here.
            let _ = self.runtime.set(runtime);
        }
        match self.runtime.get() {
            Some(runtime) => Ok(runtime.block_on(work)),
            None => Err(cannot_start()),
        }
    }

    /// Waits with several threads from now on: for a command that serves many at once. To be called before the first wait.
    ///
    /// # Errors
    /// No runtime can be made here.
    #[cfg(feature = "server")]
    pub(crate) fn use_threads(&self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| cannot_start().because(&error))?;
        // Nobody has waited yet.
        let _ = self.runtime.set(runtime);
        Ok(())
    }

    /// The configuration file.
    ///
    /// # Errors
    /// It is not one, or `--config` names none.
    pub fn config(&self) -> Result<Config, Failure> {
        self.config_at(self.config.as_deref())
    }

    /// The configuration file at `path`, as [`Config::load`].
    pub(crate) fn config_at(&self, path: Option<&Path>) -> Result<Config, Failure> {
        let config = Config::load(path)?;
        self.storage.admit(&config)?;
        Ok(config)
    }

    /// The effective settings.
    ///
    /// # Errors
    /// The configuration file or a variable is not what it should be.
    pub fn settings(&self) -> Result<Settings, Failure> {
        Settings::effective(self)
    }

    /// The bounds of a reader: flag over environment over default.
    ///
    /// # Errors
    /// The environment does not hold a number.
    pub fn limits(&self, options: &LimitOptions) -> Result<Limits, Failure> {
        options.limits(&self.environment)
    }
}

fn cannot_start() -> Failure {
    Failure::new(
        "the program could not be started",
        "check the limits on processes and open files, then try again",
    )
}
