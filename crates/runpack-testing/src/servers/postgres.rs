//! PostgreSQL of a test's own, on a free port of loopback.
//!
//! The program runs in a root of its own (`chroot`), as `nobody`, which is who it insists to be, so nothing of it is
//! installed on the machine. It ends with its test, also when that is killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::Place;
use super::process::{Process, free_ports, listens, run};
use super::{Running, STARTS};

/// Where `cargo xtask servers install` puts it, below the directory of the servers.
const POSTGRES: &str = "postgresql-17";
const PROGRAMS: &str = "/usr/lib/postgresql/17/bin";
/// `nobody` of Debian.
const NOBODY: u32 = 65_534;
const USER: &str = "runpack";
/// How often one that was killed is started until it does.
const STARTS_AGAIN: usize = 200;

/// A PostgreSQL that only one test uses.
#[derive(Debug)]
pub struct PrivatePostgres {
    process: Option<Process>,
    root: PathBuf,
    /// Its directory, seen from inside the root.
    inside: String,
    place: Place,
    port: u16,
}

impl PrivatePostgres {
    /// Starts one, which takes a second.
    ///
    /// # Panics
    /// The tests are not run by `runpack-servers`, or it does not start.
    pub fn start() -> Self {
        Self::start_at(&Running::read().installed).unwrap()
    }

    /// Starts one that is installed below a directory.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_at(installed: &Path) -> io::Result<Self> {
        let root = installed.join(POSTGRES);
        if !root.is_dir() {
            let place = root.display();
            return Err(io::Error::other(format!(
                "there is no PostgreSQL at {place}: run `cargo xtask servers install`"
            )));
        }
        let place = Place::below(&root.join("srv"))?;
        let inside = place
            .path()
            .strip_prefix(&root)
            .map_err(io::Error::other)?
            .display();
        let mut postgres = Self {
            process: None,
            inside: format!("/{inside}"),
            place,
            port: 0,
            root,
        };
        if is_root() {
            std::os::unix::fs::chown(postgres.place.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let data = format!("{}/data", postgres.inside);
        run(&mut postgres.command(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                USER,
                "-A",
                "trust",
                "--no-sync",
                "--locale=C",
                "-E",
                "UTF8",
            ],
        ))?;
        // A port that was free may be taken a moment later.
        let mut tries = 1..=STARTS;
        loop {
            let number = tries.next().unwrap_or(STARTS);
            [postgres.port] = free_ports()?;
            match postgres.try_start_again() {
                Err(_) if number < STARTS => {}
                outcome => return outcome.map(|()| postgres),
            }
        }
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// It is not running.
    pub fn database(&self, name: &str) -> String {
        self.ask("postgres", &format!("CREATE DATABASE \"{name}\""));
        self.url(name)
    }

    /// The URL of a database.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port)
    }

    /// Has a statement done, and yields what it says: a row a line, `|` between columns.
    ///
    /// # Panics
    /// It is not running, or refuses.
    pub fn ask(&self, database: &str, statement: &str) -> String {
        let port = self.port.to_string();
        let mut ask = self.command(
            "psql",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                USER,
                "-d",
                database,
                "-v",
                "ON_ERROR_STOP=1",
                "-qtA",
                "-c",
                statement,
            ],
        );
        run(&mut ask).unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
        // Its children see that they are alone a moment later.
        let stopped = |port| (0..600).any(|_| !listens(port) || wait());
        assert!(stopped(self.port), "it does not end");
    }

    /// Has it stand still: connections are taken by the system, and nobody answers.
    pub fn pause(&self) {
        if let Some(process) = &self.process {
            process.signal(rustix::process::Signal::STOP);
        }
    }

    /// Has it go on.
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.signal(rustix::process::Signal::CONT);
        }
    }

    /// Starts it again, at the same port.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_again(&mut self) {
        let mut tries = 0..STARTS_AGAIN;
        // Those that were its children may have its memory for a moment more.
        while let Err(error) = self.try_start_again() {
            assert!(tries.next().is_some(), "{error}");
            wait();
        }
    }

    fn try_start_again(&mut self) -> io::Result<()> {
        let port = self.port;
        let (data, given) = (format!("{}/data", self.inside), port.to_string());
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // The test's own process is killed, and never the machine.
            "fsync=off",
            "jit=off",
            "dynamic_shared_memory_type=mmap",
            "max_connections=40",
        ];
        let mut words = vec!["-D", &data, "-p", &given];
        words.extend(settings.iter().flat_map(|setting| ["-c", setting]));
        let command = self.command("postgres", &words);
        let log = self.place.path().join("log");
        let mut process = Process::start("postgres", &command, Path::new("/"), &log)?;
        process.wait_until(|| listens(port) && self.answers())?;
        self.process = Some(process);
        Ok(())
    }

    fn answers(&self) -> bool {
        let port = self.port.to_string();
        let mut ask = self.command("pg_isready", &["-q", "-h", "127.0.0.1", "-p", &port]);
        run(&mut ask).is_ok()
    }

    /// A command that runs inside the root as nobody.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let nobody = NOBODY.to_string();
        let mut command;
        if is_root() {
            command = Command::new("chroot");
            command.arg(&self.root);
            command.args(["/usr/bin/setpriv", "--reuid", &nobody, "--regid", &nobody]);
            // Whoever becomes nobody forgets whom it ends with, so it is said again.
            command.args(["--clear-groups", "--pdeathsig", "KILL", "--"]);
        } else {
            command = Command::new("unshare");
            command.args(["--user", "--keep-caps"]);
            command.arg(format!("--map-user={nobody}"));
            command.arg(format!("--map-group={nobody}"));
            command.arg("chroot").arg(&self.root);
        }
        command.arg(format!("{PROGRAMS}/{program}")).args(arguments);
        command.env("LC_ALL", "C");
        command
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Waits a moment, and says no.
fn wait() -> bool {
    std::thread::sleep(std::time::Duration::from_millis(50));
    false
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // Before its directory is removed.
        self.process = None;
        let _ = (0..200).any(|_| !listens(self.port) || wait());
        let _ = fs::remove_dir_all(self.place.path().join("data"));
    }
}
