//! What to do about the errors of the core.

use std::error::Error;

use runpack_core::bundle::BundleWriteError;
use runpack_core::directory::ScanError;
use runpack_core::display::Printable;
use runpack_core::pack::PackError;
use runpack_core::receipt::ReceiptError;
use runpack_core::reference::ReferenceError;
use runpack_core::store::StoreError;

use super::{Exit, Failure};

/// The error's own text as the message, what is behind it as causes.
fn explained(error: &dyn Error, help: impl Into<String>) -> Failure {
    let failure = Failure::new(error.to_string(), help);
    match error.source() {
        Some(source) => failure.because(source),
        None => failure,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let help = match &error {
            StoreError::NotFound { .. } => {
                "check the path; `runpack list` shows the packs of a store"
            }
            StoreError::AlreadyExists { .. } => {
                "nothing was replaced; export under another run id, or look at what is there"
            }
            StoreError::NotDeclared { .. } => {
                "wait until nothing writes to the directory any more, then run the export again"
            }
            StoreError::Unsafe { .. } => "replace it by a regular file; links are never followed",
            StoreError::Unusable { .. } => {
                "`runpack config show` shows what counts and where it comes from; stores are written file:PATH or \
                 s3://BUCKET/PREFIX"
            }
            StoreError::Barred { .. } => {
                "do what it says, then run the same again: what was written already is found there"
            }
            StoreError::Denied { .. } => {
                "check what the credentials may do with this bucket and prefix; `runpack store status` tries it out"
            }
            StoreError::Archived { .. } => "`runpack restore` asks for it back; then try again",
            StoreError::Refused { .. } => {
                "see what the store says; `runpack store status` tries out what it can do"
            }
            StoreError::Unreachable { .. } | StoreError::Unavailable { .. } => {
                "check the network and the service, then run the same command again: what arrived is not sent again"
            }
            _ => {
                "check permissions and free space, then try again; what was written so far harms nothing"
            }
        };
        explained(&error, help)
    }
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        let help = match error {
            PackError::Store(error) => return error.into(),
            PackError::Source { name, source } => {
                let message = format!("an artifact could not be read, name=`{name}`");
                let inner = Self::from(source);
                return Self::new(message, inner.help.clone()).because(&inner);
            }
            PackError::Manifest(_) => {
                "rename the file, or give it another name or kind in the file of --map"
            }
            PackError::Key(_) => {
                "choose shorter ids, or give the file a shorter name in the file of --map"
            }
            PackError::ArtifactSize { .. } => {
                "raise the limit with --max-artifact-bytes or MAX_RUNPACK_ARTIFACT_BYTES"
            }
            PackError::Conflict { .. } => {
                "a run has one pack: choose another --run-id for what is new, or keep the pack that is there"
            }
            PackError::Foreign { .. } => {
                "look at that file: it is not a manifest that Runpack wrote; use another store or run id"
            }
            _ => "run the export again; if it happens again, report it with the output of this run",
        };
        explained(&error, help)
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        match error {
            ReferenceError::Store(error) => error.into(),
            other => explained(&other, "look for the pack by its identity"),
        }
    }
}

impl From<ReceiptError> for Failure {
    fn from(error: ReceiptError) -> Self {
        let help = match &error {
            ReceiptError::Damaged { .. } => {
                "look at that file and move it away if it is not to be believed, or verify with --no-receipts and \
                 another pin"
            }
            _ => "check the permissions of that path, or verify with --no-receipts and another pin",
        };
        explained(&error, help)
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Refused(refused) => Self::new(
                format!(
                    "only regular files are exported, and here is what is not: {} of them",
                    refused.len()
                ),
                "replace each by a copy of what it stands for, or remove it",
            )
            .with_details(
                refused
                    .iter()
                    .map(|one| format!("{}: {}", Printable(&one.path), one.what))
                    .collect(),
            ),
            ScanError::Store(error) => error.into(),
            _ => explained(&error, "check the directory, then try again"),
        }
    }
}

impl From<BundleWriteError> for Failure {
    fn from(error: BundleWriteError) -> Self {
        match error {
            BundleWriteError::NotCommitted { .. }
            | BundleWriteError::Incomplete { .. }
            | BundleWriteError::Excess => explained(
                &error,
                "the pack is damaged: `runpack verify` says where; take another copy of it",
            )
            .with_exit(Exit::Invalid),
            _ => explained(&error, "check permissions and free space, then try again"),
        }
    }
}
