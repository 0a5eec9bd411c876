//! Who may depend on whom, read from `cargo metadata`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Problems;
use crate::command::{Result, Workspace, read};

/// The crates of this workspace that each crate may depend on, in the library and in its tests.
const MAY_DEPEND_ON: &[(&str, &[&str], &[&str])] = &[
    // Not on runpack-testing either: its features would be the core's in a test of the bare core.
    ("runpack-core", &[], &[]),
    ("runpack-testing", &["runpack-core"], &[]),
    ("runpack-catalog", &["runpack-core"], &["runpack-testing"]),
    (
        "runpack-server",
        &["runpack-core", "runpack-catalog"],
        &["runpack-testing"],
    ),
    (
        "runpack-cli",
        &["runpack-core", "runpack-catalog", "runpack-server"],
        &["runpack-testing"],
    ),
    ("xtask", &[], &[]),
];
/// Crates that only these may depend on: the store, what the enterprise asks of a bucket beyond it, and the tests' own
/// look at real servers.
const ONLY_FOR: &[(&str, &[&str])] = &[
    (
        "aws-sdk-s3",
        &["runpack-core", "runpack-testing", "runpack-enterprise"],
    ),
    ("aws-config", &["runpack-core"]),
];
/// The most packages that the core without any feature, and the program without the server, may need, themselves not
/// counted.
const DEPENDENCIES_MAX: &[(&str, usize)] = &[("runpack-core", 70), ("runpack-cli", 240)];

/// A package of the workspace.
struct Package<'a> {
    name: &'a str,
    is_enterprise: bool,
    dependencies: Vec<Dependency<'a>>,
}

struct Dependency<'a> {
    name: &'a str,
    requirement: &'a str,
    features: Vec<&'a str>,
    is_for_tests: bool,
    is_local: bool,
}

fn packages(workspace: &Workspace) -> Vec<Package<'_>> {
    array(&workspace.metadata, "packages")
        .map(|package| Package {
            name: text(package, "name"),
            is_enterprise: std::path::Path::new(text(package, "manifest_path"))
                .strip_prefix(&workspace.root)
                .is_ok_and(|path| path.starts_with("enterprise")),
            dependencies: array(package, "dependencies")
                .map(|dependency| Dependency {
                    name: text(dependency, "name"),
                    requirement: text(dependency, "req"),
                    features: array(dependency, "features")
                        .filter_map(Value::as_str)
                        .collect(),
                    is_for_tests: text(dependency, "kind") == "dev",
                    is_local: !text(dependency, "path").is_empty(),
                })
                .collect(),
        })
        .collect()
}

fn array<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Dependencies inside the workspace follow `MAY_DEPEND_ON`; enterprise crates may use any OSS crate but
/// xtask, and no OSS crate uses them.
pub(super) fn one_way(workspace: &Workspace) -> Problems {
    let packages = packages(workspace);
    let enterprise: BTreeSet<&str> = packages
        .iter()
        .filter(|package| package.is_enterprise)
        .map(|package| package.name)
        .collect();
    let mut problems = Problems::new();
    for package in &packages {
        let rule = MAY_DEPEND_ON
            .iter()
            .find(|(name, ..)| *name == package.name);
        if rule.is_none() && !package.is_enterprise {
            problems.push(format!(
                "{}: say in crates/xtask/src/tidy/layering.rs which crates it may depend on",
                package.name
            ));
        }
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.is_local)
        {
            let name = dependency.name;
            let is_allowed = match rule {
                _ if name == "xtask" => false,
                _ if package.is_enterprise => true,
                _ if enterprise.contains(name) => false,
                Some((_, library, tests)) => {
                    library.contains(&name) || dependency.is_for_tests && tests.contains(&name)
                }
                None => true,
            };
            if !is_allowed {
                problems.push(format!("{} must not depend on {name}", package.name));
            }
        }
    }
    problems
}

/// Some crates are for one crate only, tokio comes without `full`, and no version is `*`.
pub(super) fn declared(workspace: &Workspace) -> Problems {
    let mut problems = Problems::new();
    for package in packages(workspace) {
        for dependency in &package.dependencies {
            let name = dependency.name;
            for (only, users) in ONLY_FOR {
                if name == *only && !users.contains(&package.name) {
                    let users = users.join(" and ");
                    problems.push(format!("{}: {name} is for {users} alone", package.name));
                }
            }
            if name == "tokio" && dependency.features.contains(&"full") {
                problems.push(format!(
                    "{}: name tokio's features instead of `full`",
                    package.name
                ));
            }
            if dependency.requirement == "*" && !dependency.is_local {
                problems.push(format!("{}: {name} needs a version", package.name));
            }
        }
    }
    problems
}

/// Counts what the core and the program need without any feature: each package in the graph is paid for.
pub(super) fn lean(workspace: &Workspace) -> Result<Problems> {
    let mut problems = Problems::new();
    for (of, most) in DEPENDENCIES_MAX {
        let line = format!(
            "tree --package {of} --no-default-features --edges normal,build --prefix none --format {{p}}"
        );
        let tree = read(&mut workspace.cargo(&line))?;
        let own = format!("{of} ");
        let packages: BTreeSet<&str> = tree
            .lines()
            .map(|line| line.trim_end_matches(" (*)"))
            .filter(|line| !line.is_empty() && !line.starts_with(&own))
            .collect();
        let count = packages.len();
        println!("     {of} without features depends on {count} packages (at most {most})");
        if count > *most {
            let names: Vec<_> = packages.into_iter().collect();
            problems.push(format!("{of}, {count} packages: {}", names.join(", ")));
        }
    }
    Ok(problems)
}
