//! The API documentation, with every warning of rustdoc an error.

use crate::command::{self, Result, Workspace};

pub(crate) fn run(workspace: &Workspace) -> Result {
    let mut doc = workspace.cargo("doc --workspace --all-features --no-deps");
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}
