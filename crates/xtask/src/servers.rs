//! Real servers for the tests: installed into the project's cache, started around a command.
//!
//! Ceph and PostgreSQL come from Debian packages, each unpacked into a directory of its own, MiniStack and moto from PyPI
//! into a virtual environment, and into another one the validators of other systems' formats. Nothing but the tool that
//! unpacks is installed on the machine. Each is made under another name and moved into place when it is whole, so what is
//! there works. The program that starts them is `runpack-servers` of `runpack-testing`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use crate::command::{self, Result, Workspace, environment, read, shell, succeeds};
use crate::tools;

/// The Debian suite that has this release of Ceph, and how its gateway names itself.
const CEPH_SUITE: &str = "forky";
const CEPH_VERSION: &str = "ceph version 20.2";
/// The Debian suite that has this release of PostgreSQL, and how its server names itself.
const POSTGRES_SUITE: &str = "trixie";
const POSTGRES_VERSION: &str = "postgres (PostgreSQL) 17.";
/// Where each is, below the directory of the servers: another version gets another name.
const CEPH: &str = "ceph-20";
const POSTGRES: &str = "postgresql-17";
const PYTHON: &str = "python-ministack-1.5.33-moto-5.2.5";
const REQUIREMENTS: &[&str] = &["ministack==1.5.33", "moto[server,s3]==5.2.5"];
/// What the exports of lineage are held against (`runpack-testing/src/validators.rs`). Other versions get another number.
const VALIDATORS: &str = "python-validators-1";
const VALIDATORS_REQUIREMENTS: &[&str] = &[
    "openlineage-python==1.54.0",
    "prov==3.2.3",
    // Has the context of RO-Crate, which is nowhere to be fetched from while tests run.
    "rocrate==0.16.0",
    "roc-validator==0.13.0",
    "jsonschema==4.26.0",
];
/// Names the mirror to take Ceph from where apt's own is none of Debian's.
const MIRROR: &str = "RUNPACK_DEBIAN_MIRROR";
/// What of the packages nobody here runs or reads.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/zoneinfo/*",
    "/usr/lib/systemd/*",
    "/usr/bin/cephfs-*",
    "/usr/bin/ceph-*tool",
    "/usr/bin/radosgw-object-expirer",
    "/usr/bin/radosgw-es",
    "/usr/bin/rbd*",
    "/usr/share/perl/*",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/llvm*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    /// Start only these: ceph, ministack, moto
    #[arg(long, value_name = "KINDS")]
    only: Option<String>,
    /// The command to run while they run, which finds them by the file that `RUNPACK_TEST_SERVERS` names
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Install what is missing, and start nothing
    Install,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    install(workspace)?;
    if options.action.is_some() {
        return Ok(());
    }
    if options.command.is_empty() {
        return Err("say which command to run: `cargo xtask servers -- COMMAND`".into());
    }
    // Together with a test, and with the features of all of them: so its dependencies are built once.
    let line = "test --quiet --workspace --all-features --test stores --no-run";
    command::run(&mut workspace.cargo(line))?;
    let mut servers = program(workspace);
    if let Some(kinds) = &options.only {
        servers.args(["--only", kinds]);
    }
    command::run(servers.arg("--").args(&options.command))
}

/// Runs tests while all servers run; `nextest` is a command that runs tests in this directory, all of which are
/// built first, and the program that starts the servers with them.
pub(crate) fn around_tests(
    workspace: &Workspace,
    nextest: &str,
    directory: &Path,
    variables: &[(&str, &str)],
) -> Result {
    install(workspace)?;
    let mut build = workspace.cargo(nextest);
    command::run(build.arg("--no-run").current_dir(directory))?;
    let mut servers = program(workspace);
    servers
        .args(["--", "cargo"])
        .args(nextest.split_whitespace());
    command::run(
        servers
            .envs(variables.iter().copied())
            .current_dir(directory),
    )
}

/// `runpack-servers`, as it was last built.
fn program(workspace: &Workspace) -> Command {
    let mut servers = workspace.command(workspace.target.join("debug/runpack-servers"));
    servers.arg("--installed").arg(directory(workspace));
    servers
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("servers")
}

/// Installs what is missing; what is there costs nothing.
pub(crate) fn install(workspace: &Workspace) -> Result {
    // Starts the servers so that they end with their starter; makes the certificates.
    tools::ensure_program(workspace, "setpriv", "util-linux")?;
    tools::ensure_program(workspace, "openssl", "openssl")?;
    fs::create_dir_all(directory(workspace))?;
    once(workspace, CEPH, |place| ceph(workspace, place))?;
    once(workspace, POSTGRES, |place| postgres(workspace, place))?;
    python(
        workspace,
        PYTHON,
        REQUIREMENTS,
        &["ministack", "moto.server"],
    )?;
    python(
        workspace,
        VALIDATORS,
        VALIDATORS_REQUIREMENTS,
        &[
            "openlineage.client",
            "prov.model",
            "rocrate_validator.services",
            "jsonschema",
        ],
    )
}

/// Makes a directory by this name unless it is there. It is made under another name first.
fn once(workspace: &Workspace, name: &str, make: impl FnOnce(&Path) -> Result) -> Result {
    let place = directory(workspace).join(name);
    if place.is_dir() {
        return Ok(());
    }
    let making = directory(workspace).join(format!("making-{}-{name}", std::process::id()));
    let watch = command::stopwatch();
    let outcome = make(&making).and_then(|()| {
        #[expect(
            clippy::disallowed_methods,
            reason = "a directory is never replaced: renaming over one that is not empty fails"
        )]
        let moved = fs::rename(&making, &place);
        // Somebody else has made it meanwhile.
        moved.or_else(|error| place.is_dir().then_some(()).ok_or(error))?;
        Ok(())
    });
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    outcome.map_err(|error| format!("the server `{name}` could not be installed: {error}"))?;
    let seconds = watch.elapsed().as_secs();
    println!("installed {} in {seconds} s", place.display());
    Ok(())
}

/// Unpacks Ceph's monitor, object store, gateway and command line.
fn ceph(workspace: &Workspace, place: &Path) -> Result {
    let packages = "base-files,ceph-mon,ceph-osd,radosgw,ceph-common";
    unpack(workspace, place, CEPH_SUITE, packages)?;
    expect_version(workspace, place, "/usr/bin/radosgw", CEPH_VERSION)
}

/// Unpacks PostgreSQL, the shell that it makes databases with, and what makes it run as nobody.
fn postgres(workspace: &Workspace, place: &Path) -> Result {
    unpack(
        workspace,
        place,
        POSTGRES_SUITE,
        "base-files,dash,util-linux,postgresql-17",
    )?;
    // It wants to know the name of who runs it.
    fs::write(
        place.join("etc/passwd"),
        "nobody:x:65534:65534::/:/bin/sh\n",
    )?;
    let server = "/usr/lib/postgresql/17/bin/postgres";
    expect_version(workspace, place, server, POSTGRES_VERSION)
}

/// Unpacks Debian packages, and what they depend on, into a root of their own.
fn unpack(workspace: &Workspace, place: &Path, suite: &str, packages: &str) -> Result {
    tools::ensure_program(workspace, "mmdebstrap", "mmdebstrap")?;
    let mut unpack = workspace.command("mmdebstrap");
    unpack.args([
        "--quiet",
        "--variant=extract",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Languages \"none\"",
        // The lists of a suite under test expire after a week, and a mirror may lag. They stay signed.
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
    ]);
    unpack.arg(format!("--include={packages}"));
    for pattern in LEFT_OUT {
        unpack.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    // The one of them that a database asks for.
    unpack.arg("--dpkgopt=path-include=/usr/share/zoneinfo/*UTC");
    let mirror = mirror(workspace)?;
    command::run(unpack.arg(suite).arg(place).arg(&mirror)).map_err(|error| {
        format!("{error}; {MIRROR} names another Debian mirror than `{mirror}`")
    })?;
    for directory in ["proc", "sys", "srv", "tmp", "run"] {
        fs::create_dir_all(place.join(directory))?;
    }
    Ok(())
}

fn expect_version(workspace: &Workspace, place: &Path, program: &str, expected: &str) -> Result {
    let mut ask = workspace.command("chroot");
    ask.arg(place).args([program, "--version"]);
    let version = read(&mut ask)?;
    if version.starts_with(expected) {
        return Ok(());
    }
    let version = version.trim();
    Err(format!("the mirror has `{version}`, not {expected}").into())
}

/// The mirror that this machine's own packages come from.
fn mirror(workspace: &Workspace) -> Result<String> {
    if let Some(mirror) = environment(MIRROR) {
        return Ok(mirror.to_string_lossy().into_owned());
    }
    let mut list = workspace.command("apt-get");
    list.args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]);
    let mirrors = read(&mut list)?;
    let mut mirrors: Vec<_> = mirrors
        .lines()
        .filter(|mirror| !mirror.contains("security"))
        .collect();
    mirrors.sort_unstable();
    let mirror = mirrors
        .first()
        .ok_or_else(|| format!("`{}` names no mirror, {MIRROR} may name one", shell(&list)))?;
    Ok((*mirror).to_owned())
}

/// Makes a virtual environment by this name with these packages, unless it is there; the modules are what is run of it.
pub(crate) fn python(
    workspace: &Workspace,
    name: &str,
    requirements: &[&str],
    modules: &[&str],
) -> Result {
    fs::create_dir_all(directory(workspace))?;
    once(workspace, name, |place| {
        virtual_environment(workspace, place, requirements, modules)
    })
}

/// The interpreter of the virtual environment of this name.
pub(crate) fn python_in(workspace: &Workspace, name: &str) -> PathBuf {
    directory(workspace).join(name).join("bin/python")
}

fn virtual_environment(
    workspace: &Workspace,
    place: &Path,
    requirements: &[&str],
    modules: &[&str],
) -> Result {
    tools::ensure_program(workspace, "python3", "python3")?;
    let venv = |workspace: &Workspace| {
        let mut make = workspace.command("python3");
        make.args(["-m", "venv", "--clear"]).arg(place);
        make
    };
    // Debian's Python comes without what a virtual environment needs.
    if !succeeds(
        workspace
            .command("python3")
            .args(["-c", "import ensurepip"]),
    ) {
        tools::install_package(workspace, "python3-venv")?;
    }
    command::run(&mut venv(workspace))?;
    // Byte code is made for what is used, when it is. Everything is run as modules: the scripts hold the path of
    // the directory, which is renamed later.
    let mut pip = workspace.command(place.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet"])
        .args([
            "--disable-pip-version-check",
            "--only-binary=:all:",
            "--no-compile",
        ])
        .args(requirements);
    command::run(&mut pip)?;
    for module in modules {
        let mut import = workspace.command(place.join("bin/python"));
        import.args(["-c", &format!("import {module}")]);
        read(&mut import)?;
    }
    Ok(())
}
