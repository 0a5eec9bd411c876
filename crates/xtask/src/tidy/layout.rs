//! Where files are and how they begin.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Problems;
use crate::command::{Result, Workspace};

/// All that is visible in the root; the last is there only where a toolchain has to be pinned.
const ROOT: &[&str] = &[
    "AGENTS.md",
    "Cargo.lock",
    "Cargo.toml",
    "Docs",
    "LICENSE",
    "README.md",
    "crates",
    "deny.toml",
    "enterprise",
    "rust-toolchain.toml",
];
const ROOT_OPTIONAL: &[&str] = &["enterprise", "rust-toolchain.toml"];
/// The most lines of a file without its tests.
const LINES_MAX: usize = 500;

/// The visible root is exactly `ROOT`.
pub(super) fn visible_root(workspace: &Workspace) -> Result<Problems> {
    let files = workspace.files()?;
    let found: BTreeSet<String> = files
        .iter()
        .filter_map(|file| file.components().next())
        .map(|first| first.as_os_str().to_string_lossy().into_owned())
        .filter(|first| !first.starts_with('.'))
        .collect();
    let strangers = found
        .iter()
        .filter(|name| !ROOT.contains(&name.as_str()))
        .map(|name| {
            format!("{name}: does not belong in the root; put it under Docs, crates or a dotfile")
        });
    let missing = ROOT
        .iter()
        .filter(|name| !ROOT_OPTIONAL.contains(name) && !found.contains(**name))
        .map(|name| format!("{name}: missing"));
    Ok(strangers.chain(missing).collect())
}

/// The Rust files under a crate's `src`.
fn sources(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let is_source = |file: &PathBuf| {
        file.extension().is_some_and(|extension| extension == "rs")
            && file
                .components()
                .nth(2)
                .is_some_and(|third| third.as_os_str() == "src")
            && (file.starts_with("crates") || file.starts_with("enterprise"))
    };
    Ok(workspace.files()?.into_iter().filter(is_source).collect())
}

pub(super) fn no_mod_rs(workspace: &Workspace) -> Result<Problems> {
    let files = workspace.files()?;
    let mod_files = files
        .iter()
        .filter(|file| file.file_name().is_some_and(|name| name == "mod.rs"));
    Ok(mod_files
        .map(|file| format!("{}: name it after its module", file.display()))
        .collect())
}

pub(super) fn headers(workspace: &Workspace) -> Result<Problems> {
    let mut problems = Problems::new();
    for file in sources(workspace)? {
        if !fs::read_to_string(workspace.root.join(&file))?.starts_with("//!") {
            problems.push(format!("{}: does not begin with `//!`", file.display()));
        }
    }
    Ok(problems)
}

pub(super) fn length(workspace: &Workspace) -> Result<Problems> {
    let mut problems = Problems::new();
    for file in sources(workspace)? {
        if is_test_file(&file) {
            continue;
        }
        let text = fs::read_to_string(workspace.root.join(&file))?;
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count();
        if lines > LINES_MAX {
            problems.push(format!("{}: {lines} lines", file.display()));
        }
    }
    Ok(problems)
}

/// Whether a file is `foo/tests.rs` or lies below a `tests` module.
fn is_test_file(file: &Path) -> bool {
    file.components().any(|part| {
        let part = part.as_os_str();
        part == "tests" || part == "tests.rs"
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_test_file;

    #[test]
    fn test_files_are_known_by_their_place() {
        assert!(is_test_file(Path::new("crates/a/src/name/tests.rs")));
        assert!(is_test_file(Path::new("crates/a/src/name/tests/cut.rs")));
        assert!(!is_test_file(Path::new("crates/a/src/contests.rs")));
    }
}
