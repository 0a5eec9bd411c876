//! The environment: the one place that reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;

/// What the environment says. A variable that is set to nothing counts as not set.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Environment {
    /// `RUNPACK_TENANT`
    pub tenant: Option<OsString>,
    /// `RUNPACK_NAMESPACE`
    pub namespace: Option<OsString>,
    /// `RUNPACK_STORE_ROOT`
    pub store_root: Option<OsString>,
    /// `RUNPACK_STATE_DIR`
    pub state_dir: Option<OsString>,
    /// `MAX_RUNPACK_ARTIFACT_BYTES`
    pub artifact_bytes_max: Option<OsString>,
    /// `XDG_STATE_HOME`
    pub xdg_state_home: Option<OsString>,
    /// `HOME`
    pub home: Option<OsString>,
    /// Whether `NO_COLOR` is set (no-color.org).
    pub no_color: bool,
    /// Whether `TERM` says that the terminal can do nothing.
    pub dumb_terminal: bool,
}

impl Environment {
    /// Reads the variables.
    pub fn read() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the environment"
        )]
        let read = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            tenant: read("RUNPACK_TENANT"),
            namespace: read("RUNPACK_NAMESPACE"),
            store_root: read("RUNPACK_STORE_ROOT"),
            state_dir: read("RUNPACK_STATE_DIR"),
            artifact_bytes_max: read("MAX_RUNPACK_ARTIFACT_BYTES"),
            xdg_state_home: read("XDG_STATE_HOME"),
            home: read("HOME"),
            no_color: read("NO_COLOR").is_some(),
            dumb_terminal: read("TERM").is_some_and(|term| term == "dumb"),
        }
    }

    /// Where receipts are kept: `receipts` below `RUNPACK_STATE_DIR`, else below
    /// `$XDG_STATE_HOME/runpack`, else below `~/.local/state/runpack`.
    ///
    /// # Errors
    /// None of the three is known.
    pub fn receipts(&self) -> Result<PathBuf, Failure> {
        // A relative XDG path is invalid and to be ignored (XDG Base Directory Specification).
        let xdg = self.xdg_state_home.as_ref().map(PathBuf::from);
        let state = match (
            &self.state_dir,
            xdg.filter(|path| path.is_absolute()),
            &self.home,
        ) {
            (Some(state), _, _) => PathBuf::from(state),
            (None, Some(xdg), _) => xdg.join("runpack"),
            (None, None, Some(home)) => PathBuf::from(home).join(".local/state/runpack"),
            (None, None, None) => {
                return Err(Failure::new(
                    "there is no place for receipts: neither RUNPACK_STATE_DIR nor XDG_STATE_HOME nor HOME is set",
                    "set RUNPACK_STATE_DIR to a directory that is yours, or verify with --no-receipts",
                ));
            }
        };
        Ok(state.join("receipts"))
    }
}
