//! What a command works on: a pack directory, a bundle, standard input, or a run's place in a store.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

mod store;

pub(crate) use store::part;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::directory::PackDirectory;
use runpack_core::id::{ExecutionId, Namespace, RunId, Scenario, SpecHash, StepId, Tenant};
use runpack_core::manifest::Subject;
use runpack_core::verify::Container;

use crate::config::parse_store;
use crate::context::Context;
use crate::failure::Failure;

/// A pack, and for a store whose it is.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// The pack: a directory, a bundle, `-` for a bundle on standard input, or file:ROOT for a store
    #[arg(value_name = "TARGET")]
    pub target: OsString,
    #[command(flatten)]
    pub(crate) locate: Locate,
}

/// Which pack of a store.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which pack of a store (for the target file:ROOT)")]
pub struct Locate {
    /// Tenant [env: RUNPACK_TENANT]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// Namespace [env: RUNPACK_NAMESPACE]
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<Namespace>,
    /// Scenario
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<Scenario>,
    /// Run id
    #[arg(long, value_name = "ID")]
    run_id: Option<RunId>,
    /// Spec hash, where one run has packs by several specs: sha256:...
    #[arg(long, value_name = "SPEC_HASH")]
    spec_hash: Option<SpecHash>,
    /// Step id, for the pack of a pipeline's step
    #[arg(long, value_name = "ID", conflicts_with_all = ["namespace", "scenario", "spec_hash"])]
    step_id: Option<StepId>,
    /// Execution id (a ULID), for the pack of an execution
    #[arg(long, value_name = "ULID", conflicts_with_all = ["tenant", "namespace", "scenario", "run_id", "spec_hash", "step_id"])]
    execution_id: Option<ExecutionId>,
}

impl Locate {
    fn is_given(&self) -> bool {
        self.tenant.is_some()
            || self.namespace.is_some()
            || self.scenario.is_some()
            || self.run_id.is_some()
            || self.spec_hash.is_some()
            || self.step_id.is_some()
            || self.execution_id.is_some()
    }
}

/// A pack to work on.
#[derive(Debug)]
pub enum Target {
    /// Files of a pack: a pack directory, or a place in a store.
    Files(FilesTarget),
    /// A pack as one stream.
    Bundle(BundleTarget),
}

/// Files of a pack.
#[derive(Debug)]
#[non_exhaustive]
pub struct FilesTarget {
    /// Where the verifier reads.
    pub container: Arc<dyn Container>,
    /// The directory that holds `manifest.json`.
    pub directory: PathBuf,
    /// In a store: whose pack it must be.
    pub subject: Option<Subject>,
}

/// A pack as one stream.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BundleTarget {
    /// The file; `None` for standard input.
    pub path: Option<PathBuf>,
}

impl Target {
    /// Finds the pack.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn open(options: &TargetOptions, context: &Context) -> Result<Self, Failure> {
        Self::locate(&options.target, &options.locate, context)
    }

    pub(crate) fn locate(
        target: &OsStr,
        locate: &Locate,
        context: &Context,
    ) -> Result<Self, Failure> {
        if target.as_encoded_bytes().starts_with(b"file:") {
            let text = target.to_string_lossy();
            let root = parse_store(&text).map_err(|fault| not_a_target(&text, &fault))?;
            return store::open(&root, locate, context).map(Self::Files);
        }
        if locate.is_given() {
            return Err(Failure::new(
                "--tenant, --run-id and their like say which pack of a store is meant, and the target is no store",
                "leave them out, or write --expect-tenant, --expect-run-id and so on to say whose pack it must be",
            ));
        }
        Self::open_path(target)
    }

    /// The pack at a path, or on standard input.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn open_path(target: &OsStr) -> Result<Self, Failure> {
        if target == "-" {
            return Ok(Self::Bundle(BundleTarget { path: None }));
        }
        let path = Path::new(target);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let container = PackDirectory::open(path)?;
                Ok(Self::Files(FilesTarget {
                    container: Arc::new(container),
                    directory: path.to_owned(),
                    subject: None,
                }))
            }
            Ok(_) => Ok(Self::Bundle(BundleTarget {
                path: Some(path.to_owned()),
            })),
            Err(error) => Err(missing(&target.to_string_lossy(), &error)),
        }
    }

    /// The path that a person knows it by; `None` for standard input.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Files(files) => Some(&files.directory),
            Self::Bundle(bundle) => bundle.path.as_deref(),
        }
    }
}

fn not_a_target(text: &str, fault: &str) -> Failure {
    Failure::new(
        format!("this is no target, target=`{text}`: {fault}"),
        "give a pack directory, a bundle, `-`, or file:ROOT",
    )
}

fn missing(text: &str, error: &io::Error) -> Failure {
    if text.contains("://") {
        return not_a_target(text, "this program reads directories and files only");
    }
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(
            format!("there is nothing at this path, path=`{text}`"),
            "give a pack directory, a bundle, `-`, or file:ROOT; `runpack list` shows the packs of a store",
        );
    }
    Failure::new(
        format!("the target could not be read, path=`{text}`"),
        "check the path and its permissions",
    )
    .because(error)
}

impl BundleTarget {
    /// Opens the stream, and its size where it is known.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self) -> Result<(Box<dyn Read>, u64), Failure> {
        let Some(path) = &self.path else {
            return Ok((Box::new(io::stdin().lock()), 0));
        };
        let opened = File::open(path).and_then(|file| {
            let metadata = file.metadata()?;
            let bytes = if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
            Ok((file, bytes))
        });
        match opened {
            Ok((file, bytes)) => Ok((Box::new(file), bytes)),
            Err(error) => Err(missing(&path.to_string_lossy(), &error)),
        }
    }
}
