//! What a program makes of stores: the seam by which another program locks and routes.

use std::fmt;

use runpack_core::manifest::Subject;
use runpack_core::store::s3::Endpoint;

use super::{Access, BucketAddress, Storage};
use crate::config::Config;
use crate::context::Context;
use crate::failure::Failure;
use crate::settings::Settings;

/// What a program makes of stores beyond opening them. `runpack` itself has [`PlainStorage`].
///
/// ```no_run
/// use std::sync::Arc;
/// use runpack_cli::{Context, Failure, NoMore, Program, StoragePolicy};
/// use runpack_cli::config::Config;
/// use runpack_cli::settings::Settings;
/// use runpack_cli::storage::{Access, Storage};
///
/// #[derive(Debug)]
/// struct Locking;
///
/// impl StoragePolicy for Locking {
///     fn admit(&self, _: &Config) -> Result<(), Failure> {
///         Ok(())
///     }
///
///     fn wrap(&self, opened: Storage, _: Access, _: &Settings, _: &Context) -> Result<Storage, Failure> {
///         let Some(bucket) = opened.s3().cloned() else { return Ok(opened) };
///         Ok(opened.with_store(bucket.clone(), Arc::new(bucket)))
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     let program = Program::new("runpack-more", "1.0.0").with_storage(&Locking);
///     runpack_cli::main_with::<NoMore>(program)
/// }
/// ```
pub trait StoragePolicy: fmt::Debug + Sync {
    /// Takes what the configuration says below `runpacks.s3.object_lock` and `runpacks.policy`, or refuses it.
    ///
    /// # Errors
    /// It cannot be done as it is written, or not by this program.
    fn admit(&self, config: &Config) -> Result<(), Failure>;

    /// The store to use in place of a bucket that was opened ([`Storage::with_store`]).
    ///
    /// # Errors
    /// The store cannot do what is asked of it.
    fn wrap(
        &self,
        opened: Storage,
        access: Access,
        settings: &Settings,
        context: &Context,
    ) -> Result<Storage, Failure> {
        let _ = (access, settings, context);
        Ok(opened)
    }

    /// Whether the configuration leaves it to the program where packs go.
    fn routes(&self, settings: &Settings) -> bool {
        let _ = settings;
        false
    }

    /// Where new packs about `subject` go, if the configuration leaves it to the program.
    ///
    /// # Errors
    /// It says that they go nowhere.
    fn route(&self, subject: &Subject, settings: &Settings) -> Result<Option<Route>, Failure> {
        let _ = (subject, settings);
        Ok(None)
    }
}

/// Stores as they are, and no locks.
#[derive(Debug, Clone, Copy)]
pub struct PlainStorage;

impl StoragePolicy for PlainStorage {
    fn admit(&self, config: &Config) -> Result<(), Failure> {
        let refused = |asks: &str| {
            Failure::new(
                format!("{asks}, which this program does not have"),
                "use the enterprise build of runpack, which has it, or remove the key",
            )
        };
        if config.s3.object_lock.is_some() {
            return Err(refused("`runpacks.s3.object_lock` asks for locked storage"));
        }
        if config.policy.is_some() {
            return Err(refused("`runpacks.policy` asks for routing by policy"));
        }
        Ok(())
    }
}

/// Where packs go by policy: a bucket, and where its service is if not where the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The bucket.
    pub bucket: BucketAddress,
    /// Its service.
    pub endpoint: Option<Endpoint>,
    /// Its region.
    pub region: Option<String>,
}
