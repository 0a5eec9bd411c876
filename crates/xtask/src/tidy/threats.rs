//! The table of attack cases and the tests that show each.
//!
//! `Docs/security/cases.md` says which cases there are, which component each concerns, and which
//! components are built. A test shows a case by its name: a test function `s07_swapped_artifacts`, or a
//! vector's directory `s07-swapped-artifacts`. The table in the threat model is made from both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::Problems;
use crate::command::{Result, Workspace};

const CASES: &str = "Docs/security/cases.md";
const MODEL: &str = "Docs/security/threat_model.md";
const VECTORS: &str = "Docs/spec/vectors";
const BEGIN: &str = "<!-- generated: cargo xtask tidy --write -->";
const END: &str = "<!-- end of what is generated -->";
/// The letters of the groups of cases.
const GROUPS: &str = "SBCWNPTLK";

struct Case {
    id: String,
    component: String,
    what: String,
}

/// What `cases.md` says.
struct Register {
    cases: Vec<Case>,
    /// Each component, and whether it is built.
    components: BTreeMap<String, bool>,
}

impl Register {
    fn read(workspace: &Workspace) -> Result<Self> {
        Self::parse(&fs::read_to_string(workspace.root.join(CASES))?)
    }

    /// Reads the rows of the tables: `| id | component | what |` and `| component | built or not | .. |`.
    fn parse(text: &str) -> Result<Self> {
        let mut register = Self {
            cases: Vec::new(),
            components: BTreeMap::new(),
        };
        for line in text.lines() {
            let cells: Vec<&str> = line
                .trim()
                .trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect();
            let &[first, second, third] = cells.as_slice() else {
                continue;
            };
            if is_case_id(first) {
                register.cases.push(Case {
                    id: first.to_owned(),
                    component: second.to_owned(),
                    what: third.to_owned(),
                });
            } else if second == "built" || second == "not built" {
                register
                    .components
                    .insert(first.to_owned(), second == "built");
            }
        }
        if register.cases.is_empty() || register.components.is_empty() {
            return Err(format!("{CASES}: no cases or no components found").into());
        }
        Ok(register)
    }

    fn is_built(&self, case: &Case) -> bool {
        self.components
            .get(&case.component)
            .copied()
            .unwrap_or(false)
    }
}

/// Whether the text is a letter of a group and two digits.
fn is_case_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|letter| GROUPS.contains(letter))
        && text.len() == 3
        && chars.all(|digit| digit.is_ascii_digit())
}

/// The ids that a name starts with, `s10_s12_rollback` has two, each the whole name or followed by
/// the separator.
fn ids_of(name: &str, separator: char) -> Vec<String> {
    name.split(separator)
        .map(str::to_ascii_uppercase)
        .take_while(|part| is_case_id(part))
        .collect()
}

/// The names of the test functions in a Rust file: those with an attribute that speaks of a test.
fn test_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.contains("test");
        } else if let Some(name) = function_name(line) {
            if is_test {
                names.push(name);
            }
            is_test = false;
        } else if !line.starts_with("//") && !line.is_empty() && !line.starts_with(')') {
            is_test = false;
        }
    }
    names
}

fn function_name(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = line.strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
}

/// What shows each case: the places of tests and vectors.
fn evidence(workspace: &Workspace) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in workspace.files()? {
        if file.starts_with(VECTORS) {
            let directory = file.strip_prefix(VECTORS)?.components().next();
            let name = directory.map(|name| name.as_os_str().to_string_lossy());
            let Some(name) = name else { continue };
            for id in ids_of(&name, '-') {
                let places = found.entry(id).or_default();
                let place = format!("vector `{name}`");
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(workspace.root.join(&file))?;
            let owner = file
                .components()
                .nth(1)
                .map(|part| part.as_os_str().to_string_lossy());
            for name in test_names(&text) {
                for id in ids_of(name, '_') {
                    let owner = owner.as_deref().unwrap_or_default();
                    found
                        .entry(id)
                        .or_default()
                        .push(format!("{owner} `{name}`"));
                }
            }
        }
    }
    for places in found.values_mut() {
        places.sort();
    }
    Ok(found)
}

/// Every case of a built component has a test or a vector, and no test names a case that does not exist.
pub(super) fn every_case_tested(workspace: &Workspace) -> Result<Problems> {
    let register = Register::read(workspace)?;
    let evidence = evidence(workspace)?;
    let mut problems = Problems::new();
    for case in &register.cases {
        if !register.components.contains_key(&case.component) {
            problems.push(format!(
                "{}: {CASES} does not say whether `{}` is built",
                case.id, case.component
            ));
        }
        if register.is_built(case) && !evidence.contains_key(&case.id) {
            problems.push(format!(
                "{} ({}): no test: {}",
                case.id, case.component, case.what
            ));
        }
    }
    for (id, places) in &evidence {
        if !register.cases.iter().any(|case| case.id == *id) {
            problems.push(format!(
                "{id}: no such case, but {} names it",
                places.join(", ")
            ));
        }
    }
    Ok(problems)
}

/// The threat model with its table made anew.
fn regenerated(workspace: &Workspace, model: &str) -> Result<String> {
    let register = Register::read(workspace)?;
    let evidence = evidence(workspace)?;
    let mut table = String::from("| case | what | shown by |\n|---|---|---|\n");
    for case in &register.cases {
        let shown = match evidence.get(&case.id) {
            Some(places) => places.join("<br>"),
            None if register.is_built(case) => "**nothing**".to_owned(),
            None => format!("not built yet: {}", case.component),
        };
        writeln!(table, "| {} | {} | {shown} |", case.id, case.what)?;
    }
    let (before, rest) = model
        .split_once(BEGIN)
        .ok_or_else(|| format!("{MODEL}: no `{BEGIN}`"))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| format!("{MODEL}: no `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

pub(super) fn table_fresh(workspace: &Workspace) -> Result<Problems> {
    let model = fs::read_to_string(workspace.root.join(MODEL))?;
    let is_fresh = regenerated(workspace, &model)? == model;
    let problem = format!("{MODEL}: stale; run `cargo xtask tidy --write`");
    Ok(if is_fresh {
        Problems::new()
    } else {
        vec![problem]
    })
}

pub(super) fn write_table(workspace: &Workspace) -> Result {
    let path = workspace.root.join(MODEL);
    let model = fs::read_to_string(&path)?;
    let new = regenerated(workspace, &model)?;
    if new != model {
        fs::write(&path, new)?;
        println!("wrote {MODEL}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Register, ids_of, test_names};

    #[test]
    fn ids_are_read_from_names() {
        assert_eq!(ids_of("s07_swapped_artifacts", '_'), ["S07"]);
        assert_eq!(ids_of("s10_s12_rollback", '_'), ["S10", "S12"]);
        assert_eq!(ids_of("b06-whitespace", '-'), ["B06"]);
        assert!(ids_of("s070_not", '_').is_empty());
        assert!(ids_of("x01_not", '_').is_empty());
        assert!(ids_of("ok", '_').is_empty());
    }

    #[test]
    fn only_tests_count() {
        let text = "#[test]\n/// why\nfn s01_a() {\n}\nfn s02_b() {}\n#[tokio::test]\nasync fn s03_c() {}\n";
        assert_eq!(test_names(text), ["s01_a", "s03_c"]);
    }

    #[test]
    fn cases_and_components_are_read() {
        let text = "| component | state | what |\n|---|---|---|\n| core | built | all |\n| S01 | core | bits |\n";
        let register = Register::parse(text).unwrap();
        assert_eq!(register.cases.len(), 1);
        assert!(register.is_built(&register.cases[0]));
    }
}
