//! What a command works on: a pack directory, a bundle, standard input, or something in a store.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

mod bundle;
mod store;

pub use bundle::BundleTarget;
pub(crate) use store::pipeline_tenant;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::directory::PackDirectory;
use runpack_core::id::{ExecutionId, PackId, SpecHash, StepId};
use runpack_core::manifest::Subject;
use runpack_core::verify::Container;

use crate::context::Context;
use crate::failure::Failure;
use crate::file;
use crate::identity::RunOptions;
use crate::place;
use crate::storage::{self, PlaceInStore, Storage};

/// A pack, and for a store whose it is.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// The pack: a directory, a bundle, `-` for a bundle on standard input, or a store, file:ROOT or
    /// s3://BUCKET/PREFIX
    #[arg(value_name = "TARGET")]
    pub target: OsString,
    #[command(flatten)]
    pub(crate) locate: Locate,
}

/// Which pack of a store.
#[derive(Debug, Clone, Default, Args)]
#[command(
    next_help_heading = "Which pack of a store (for the targets file:ROOT and s3://BUCKET/PREFIX)"
)]
pub struct Locate {
    #[command(flatten)]
    pub(crate) run: RunOptions,
    /// Spec hash, where one run has packs by several specs: sha256:...
    #[arg(long, value_name = "SPEC_HASH")]
    pub(crate) spec_hash: Option<SpecHash>,
    /// Step id, for the pack of a pipeline's step
    #[arg(long, value_name = "ID", conflicts_with_all = ["namespace", "scenario", "spec_hash"])]
    step_id: Option<StepId>,
    /// The pack of a pipeline's run, by --tenant and --run-id
    #[arg(long, conflicts_with_all = ["namespace", "scenario", "spec_hash", "step_id"])]
    pub(crate) pipeline: bool,
    /// Execution id (a ULID), for the pack of an execution
    #[arg(long, value_name = "ULID", conflicts_with_all = ["tenant", "namespace", "scenario", "run_id", "spec_hash", "step_id", "pipeline"])]
    execution_id: Option<ExecutionId>,
    /// Pack id, whoever's it is: sha256:...
    #[arg(long, value_name = "PACK_ID", conflicts_with_all = ["tenant", "namespace", "scenario", "run_id", "spec_hash", "step_id", "pipeline", "execution_id"])]
    pub(crate) pack_id: Option<PackId>,
}

impl Locate {
    /// By pack id alone.
    pub(crate) fn of_pack_id(pack_id: PackId) -> Self {
        Self {
            pack_id: Some(pack_id),
            ..Self::default()
        }
    }

    /// Whether anything is said.
    pub(crate) const fn is_given(&self) -> bool {
        self.run.is_given()
            || self.spec_hash.is_some()
            || self.step_id.is_some()
            || self.pipeline
            || self.execution_id.is_some()
            || self.pack_id.is_some()
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
    /// Where it is.
    pub at: FilesAt,
}

/// Where files of a pack are.
#[derive(Debug)]
pub enum FilesAt {
    /// In a directory.
    Directory(PathBuf),
    /// In a store.
    Store {
        /// Which.
        storage: Box<Storage>,
        /// Whose pack it must be.
        subject: Subject,
        /// Which pack it must be, where that was asked for.
        pack_id: Option<PackId>,
    },
}

impl FilesTarget {
    /// In a store: whose pack it must be.
    pub const fn subject(&self) -> Option<&Subject> {
        match &self.at {
            FilesAt::Directory(_) => None,
            FilesAt::Store { subject, .. } => Some(subject),
        }
    }

    /// In a store: which one.
    pub(crate) fn storage(&self) -> Option<&Storage> {
        match &self.at {
            FilesAt::Directory(_) => None,
            FilesAt::Store { storage, .. } => Some(storage),
        }
    }
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
        if storage::is_store(target.as_encoded_bytes()) {
            let text = target.to_string_lossy();
            let (address, within) =
                storage::parse_within(&text).map_err(|fault| not_a_target(&text, &fault))?;
            if within.is_some() && locate.is_given() {
                return Err(given_twice());
            }
            let storage = Storage::open_with_replicas(context, &address)?;
            return store::find(storage, within, locate, context);
        }
        if locate.is_given() {
            return Err(Failure::new(
                "--tenant, --run-id and their like say which pack of a store is meant, and the target is no store",
                "leave them out, or write --expect-tenant, --expect-run-id and so on to say whose pack it must be",
            ));
        }
        Self::open_path(target)
    }

    /// The pack that is meant within a store that was opened.
    pub(crate) fn in_store(
        storage: Storage,
        locate: &Locate,
        context: &Context,
    ) -> Result<Self, Failure> {
        store::find(storage, None, locate, context)
    }

    /// The same, found anew where it was found in a store: what it is read from may be away by now.
    ///
    /// # Errors
    /// It is not found any more.
    pub(crate) fn found_again(&self, context: &Context) -> Result<Self, Failure> {
        match self {
            Self::Files(FilesTarget {
                at:
                    FilesAt::Store {
                        storage,
                        subject,
                        pack_id,
                    },
                ..
            }) => Ok(store::files((**storage).clone(), subject.clone(), *pack_id)),
            Self::Bundle(BundleTarget::Stored {
                storage,
                object,
                asked,
                ..
            }) => store::bundle((**storage).clone(), object.key(), *asked, context),
            Self::Files(FilesTarget {
                at: FilesAt::Directory(path),
                ..
            }) => Self::open_path(path.as_os_str()),
            Self::Bundle(bundle) => Ok(Self::Bundle(bundle.clone())),
        }
    }

    /// The pack about `subject`, in its place in a store that was opened.
    pub(crate) fn in_place(storage: Storage, subject: Subject) -> Self {
        store::files(storage, subject, None)
    }

    /// The pack at a path, or on standard input.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn open_path(target: &OsStr) -> Result<Self, Failure> {
        if target == "-" {
            return Ok(Self::Bundle(BundleTarget::Input));
        }
        let path = Path::new(target);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let container = PackDirectory::open(path)?;
                Ok(Self::Files(FilesTarget {
                    container: Arc::new(container),
                    at: FilesAt::Directory(path.to_owned()),
                }))
            }
            Ok(_) => Ok(Self::Bundle(BundleTarget::File(path.to_owned()))),
            Err(error) => Err(missing(&target.to_string_lossy(), &error)),
        }
    }

    /// The path that a person knows it by; `None` for standard input and for what is in a bucket.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Files(FilesTarget {
                at: FilesAt::Directory(path),
                ..
            })
            | Self::Bundle(BundleTarget::File(path)) => Some(path.clone()),
            Self::Bundle(BundleTarget::Input) => None,
            _ => self.stored().and_then(|stored| stored.path),
        }
    }

    /// Where it is in a store, if it is in one.
    pub fn stored(&self) -> Option<PlaceInStore> {
        match self {
            Self::Files(FilesTarget {
                at: FilesAt::Store {
                    storage, subject, ..
                },
                ..
            }) => Some(storage.pack(subject)),
            Self::Bundle(BundleTarget::Stored {
                storage, object, ..
            }) => Some(storage.object(object.key())),
            _ => None,
        }
    }

    /// Every name under which receipts may know the place.
    ///
    /// # Errors
    /// None: what is not there has no place, and the verifier will say so.
    pub fn places(&self) -> Vec<String> {
        if let Some(path) = self.path() {
            return place::places(&path).unwrap_or_default();
        }
        self.stored()
            .map(|stored| stored.place)
            .into_iter()
            .collect()
    }

    /// What was asked for in finding it: the pack id, the identity.
    pub(crate) fn asked(&self) -> (Option<PackId>, Option<&Subject>) {
        match self {
            Self::Files(files) => match &files.at {
                FilesAt::Directory(_) => (None, None),
                FilesAt::Store {
                    pack_id, subject, ..
                } => (*pack_id, Some(subject)),
            },
            Self::Bundle(BundleTarget::Stored { asked, .. }) => (*asked, None),
            Self::Bundle(_) => (None, None),
        }
    }

    /// Objects to a file inside the pack's own directory, which holds its pack and nothing else.
    pub(crate) fn check_outside(&self, what: &str, path: &Path) -> Result<(), Failure> {
        match self {
            Self::Files(FilesTarget {
                at: FilesAt::Directory(directory),
                ..
            }) if file::is_within(path, directory) => Err(Failure::new(
                format!(
                    "the {what} would lie inside the pack, path=`{}`",
                    path.display()
                ),
                format!("put the {what} somewhere else: with it in there, the pack is invalid"),
            )),
            _ => Ok(()),
        }
    }

    /// The pack id that its place says.
    pub(crate) fn placed(&self) -> Option<PackId> {
        match self {
            Self::Bundle(BundleTarget::Stored { placed, .. }) => Some(*placed),
            Self::Bundle(_) | Self::Files(_) => None,
        }
    }
}

fn given_twice() -> Failure {
    Failure::new(
        "the target names a pack within the store, and so do --tenant, --run-id and their like",
        "leave one of the two out",
    )
}

fn not_a_target(text: &str, fault: &str) -> Failure {
    Failure::new(
        format!("this is no target, target=`{text}`: {fault}"),
        "give a pack directory, a bundle, `-`, file:ROOT, or s3://BUCKET/PREFIX",
    )
}

fn missing(text: &str, error: &io::Error) -> Failure {
    if text.contains("://") {
        return not_a_target(text, "there are no other targets");
    }
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(
            format!("there is nothing at this path, path=`{text}`"),
            "give a pack directory, a bundle, `-`, file:ROOT or s3://BUCKET/PREFIX; `runpack list` shows the packs of a \
             store",
        );
    }
    Failure::new(
        format!("the target could not be read, path=`{text}`"),
        "check the path and its permissions",
    )
    .because(error)
}
