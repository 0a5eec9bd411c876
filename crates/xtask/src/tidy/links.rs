//! Links between the project's papers.

use std::fs;
use std::path::Path;

use super::Problems;
use crate::command::{Result, Workspace};

/// Every relative link of every Markdown file leads to a file or directory, and every `#anchor` to a
/// heading of the file.
pub(super) fn relative_links(workspace: &Workspace) -> Result<Problems> {
    let mut problems = Problems::new();
    for file in workspace.files()? {
        if file.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let path = workspace.root.join(&file);
        let text = fs::read_to_string(&path)?;
        for (line, link) in links(&text) {
            if let Some(problem) = broken(&path, &text, &link) {
                problems.push(format!("{}:{line}: {link}: {problem}", file.display()));
            }
        }
    }
    Ok(problems)
}

/// The targets of the links, each with its line; code is not looked at.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut is_code = false;
    for (line, number) in text.lines().zip(1_usize..) {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let spoken = without_code(line);
            let targets = spoken
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split_once(')'));
            links.extend(targets.map(|(target, _)| (number, target.to_owned())));
        }
    }
    links
}

/// The line without its `code spans`; the text of a link may be one, so the link itself stays.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// What is wrong with the link, if anything.
fn broken(from: &Path, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = from.parent()?.join(path);
    if !path.is_empty() && !target.exists() {
        return Some("no such file".into());
    }
    let other;
    let text = if path.is_empty() {
        text
    } else if target
        .extension()
        .is_some_and(|extension| extension == "md")
    {
        other = fs::read_to_string(&target).ok()?;
        &other
    } else {
        return None;
    };
    let has_heading = anchor.is_empty() || headings(text).any(|heading| heading == anchor);
    (!has_heading).then(|| "no such heading".into())
}

/// The anchors that the headings make: lower case, spaces to `-`, other punctuation dropped.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}

#[cfg(test)]
mod tests {
    use super::{headings, links};

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "see [`a`](b.md#c) and `[x](y)`\n```\n[no](no.md)\n```\n[d](e)";
        let expected = [(1, "b.md#c".to_owned()), (5, "e".to_owned())];
        assert_eq!(links(text), expected);
    }

    #[test]
    fn anchors_are_made_of_headings() {
        let found: Vec<_> = headings("# 1. Words\ntext\n## Pack directory, `x`").collect();
        assert_eq!(found, ["1-words", "pack-directory-x"]);
    }
}
