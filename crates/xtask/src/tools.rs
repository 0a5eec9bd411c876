//! The programs that the tests need, installed when they are missing.
//!
//! Cargo's tools go to the project's cache, pinned to a version and built with their own lock files.
//! Debian's packages are installed through apt-get. What cannot be installed is an error that names it:
//! nothing is skipped.

use crate::command::{Result, Workspace, environment, run, shell, succeeds};

/// A tool of Cargo's: `cargo install cargo-{name} --version {version}` gives `cargo {name}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CargoTool {
    name: &'static str,
    version: &'static str,
    /// More arguments for `cargo install`.
    options: &'static [&'static str],
}

/// Runs the tests, each in a process of its own.
pub(crate) const NEXTEST: CargoTool = CargoTool {
    name: "nextest",
    version: "0.9.143",
    // Without the part that updates itself, which brings TLS along and takes minutes to build.
    options: &["--no-default-features", "--features", "default-no-update"],
};
/// Checks licences, bans, sources and advisories.
pub(crate) const DENY: CargoTool = CargoTool {
    name: "deny",
    version: "0.20.2",
    // Run once, and built in half of the time.
    options: &["--debug"],
};
/// Builds and runs fuzz targets.
pub(crate) const FUZZ: CargoTool = CargoTool {
    name: "fuzz",
    version: "0.13.2",
    options: &["--debug"],
};

impl CargoTool {
    /// Whether this version or a newer one is there.
    pub(crate) fn is_there(self, workspace: &Workspace) -> bool {
        let mut command = workspace.command("cargo");
        command.args([self.name, "--version"]);
        command
            .output()
            .ok()
            .filter(|output| output.status.success())
            .and_then(|output| version(&String::from_utf8_lossy(&output.stdout)))
            .is_some_and(|found| Some(found) >= version(self.version))
    }

    /// Installs the tool unless it is there.
    pub(crate) fn ensure(self, workspace: &Workspace) -> Result {
        if self.is_there(workspace) {
            return Ok(());
        }
        let mut install = workspace.command("cargo");
        install
            .args(["install", "--locked", "--force", "--root"])
            .arg(workspace.tools())
            .arg(format!("cargo-{}", self.name))
            .args(["--version", self.version])
            .args(self.options)
            .env_remove("CARGO_TARGET_DIR");
        run(&mut install)?;
        if self.is_there(workspace) {
            Ok(())
        } else {
            Err(format!("cargo-{} was installed but does not run", self.name).into())
        }
    }
}

/// The first `x.y.z` of the text.
fn version(text: &str) -> Option<[u32; 3]> {
    text.split(|c: char| c.is_whitespace() || c == '-')
        .find_map(|word| {
            let mut numbers = word.splitn(3, '.').map(|number| number.parse().ok());
            Some([numbers.next()??, numbers.next()??, numbers.next()??])
        })
}

/// Makes sure of a program that comes as a Debian package.
pub(crate) fn ensure_program(workspace: &Workspace, program: &str, package: &str) -> Result {
    if is_on_path(workspace, program) {
        return Ok(());
    }
    println!("`{program}` is missing: installing the package `{package}`");
    install_package(workspace, package).map_err(|error| {
        format!("`{program}` is needed and could not be installed; install the package `{package}` by hand: {error}")
    })?;
    if is_on_path(workspace, program) {
        Ok(())
    } else {
        Err(format!("the package `{package}` was installed but brought no `{program}`").into())
    }
}

/// Installs a Debian package.
pub(crate) fn install_package(workspace: &Workspace, package: &str) -> Result {
    let is_root = succeeds(workspace.command("sh").args(["-c", "test $(id -u) = 0"]));
    let apt = |arguments: &[&str]| {
        let mut command = workspace.command(if is_root { "apt-get" } else { "sudo" });
        if !is_root {
            command.args(["-n", "apt-get"]);
        }
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    };
    // The lists may be there already; where they are not, or are too old, update and try again.
    let install = ["install", "--yes", "--no-install-recommends", package];
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
}

fn is_on_path(workspace: &Workspace, program: &str) -> bool {
    let mut lookup = workspace.command("sh");
    lookup.args(["-c", "command -v \"$0\"", program]);
    succeeds(&mut lookup)
}

/// How to call a nightly toolchain's Cargo, or this one with nightly features allowed.
pub(crate) fn cargo_with_nightly_features(workspace: &Workspace) -> std::process::Command {
    let mut list = workspace.command("rustup");
    list.args(["toolchain", "list"]);
    let has_nightly = list
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nightly-"));
    if has_nightly && environment("RUSTC_BOOTSTRAP").is_none() {
        let mut command = workspace.command("rustup");
        command.args(["run", "nightly", "cargo"]);
        command
    } else {
        let mut command = workspace.command("cargo");
        command.env("RUSTC_BOOTSTRAP", "1");
        println!(
            "no nightly toolchain: {} with RUSTC_BOOTSTRAP=1",
            shell(&command)
        );
        command
    }
}

#[cfg(test)]
mod tests {
    use super::{NEXTEST, version};

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(
            version("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)"),
            Some([0, 9, 143])
        );
        assert!(version("0.10.0") > version("0.9.143"));
        assert_eq!(version("none"), None);
        assert!(version(NEXTEST.version).is_some());
    }
}
