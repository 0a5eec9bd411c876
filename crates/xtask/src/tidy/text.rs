//! What may not be in any text of the project.

use std::fs;
use std::path::Path;

use super::Problems;
use crate::command::{Result, Workspace};

/// Marks of unfinished work, each in two parts so that this file does not contain it.
const UNDONE: &[(&str, &str)] = &[
    ("todo", "!("),
    ("unimplemented", "!("),
    ("FIX", "ME"),
    ("#[ign", "ore"),
];
/// The beginnings of paths that exist on somebody's machine only, in two parts likewise.
const MACHINE_PATHS: &[(&str, &str)] = &[
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("/ho", "me/"),
    ("/Us", "ers/"),
];

pub(super) fn nothing_undone(workspace: &Workspace) -> Result<Problems> {
    search(workspace, |line| {
        let found = UNDONE
            .iter()
            .find(|(a, b)| line.contains(&format!("{a}{b}")));
        found.map(|(a, b)| format!("{a}{b}"))
    })
}

pub(super) fn no_machine_paths(workspace: &Workspace) -> Result<Problems> {
    search(workspace, |line| {
        let found = MACHINE_PATHS
            .iter()
            .find(|(a, b)| is_path_start(line, &format!("{a}{b}")));
        found.map(|(a, b)| format!("{a}{b}..."))
    })
}

/// Whether the line has the text where a path begins, rather than in the middle of one.
fn is_path_start(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(place, _)| {
        let before = line
            .get(..place)
            .and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}>*)".contains(c))
    })
}

/// Looks at each line of each text file; test vectors and fuzz inputs are data, not text.
fn search(workspace: &Workspace, find: impl Fn(&str) -> Option<String>) -> Result<Problems> {
    let mut problems = Problems::new();
    for file in workspace.files()? {
        if is_data(&file) {
            continue;
        }
        let Ok(text) = String::from_utf8(fs::read(workspace.root.join(&file))?) else {
            continue;
        };
        for (line, number) in text.lines().zip(1_usize..) {
            if let Some(found) = find(line) {
                problems.push(format!("{}:{number}: {found}", file.display()));
            }
        }
    }
    Ok(problems)
}

fn is_data(file: &Path) -> bool {
    file.starts_with("Docs/spec/vectors")
        || file.components().any(|part| part.as_os_str() == "corpus")
}

#[cfg(test)]
mod tests {
    use super::is_path_start;

    #[test]
    fn a_path_inside_another_is_no_machine_path() {
        assert!(is_path_start("see /a/x", "/a/"));
        assert!(is_path_start("\"/a/x\"", "/a/"));
        assert!(!is_path_start("target/a/x", "/a/"));
        assert!(!is_path_start("~/a/x", "/a/"));
    }
}
