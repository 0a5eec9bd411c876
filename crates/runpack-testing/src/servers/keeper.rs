//! The process that holds servers, and ends them when its standard input ends.
//!
//! It first says `ready FILE` or `failed WHY` on its standard output, then answers each line that it is told
//! (`kill gateway`, `start gateway`, `kill osd`, `start osd`) with `done` or `failed WHY`. It is in a process
//! group of its own, so that whatever ends its user does not end it before it has cleaned up. Should it be
//! killed itself, the servers end with it, and the next start removes what they left.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use super::ceph::{self, Ceph};
use super::light::Light;
use super::place::{self, Place};
use super::{Kind, Running, process};

/// The first argument of a program that is to be a keeper.
pub(super) const KEEP: &str = "keep";

/// Where the directories of servers lie, for these kinds.
fn parent(installed: &Path, kinds: &[Kind]) -> PathBuf {
    if kinds.contains(&Kind::Ceph) {
        ceph::state_parent(installed)
    } else {
        installed.join("running")
    }
}

/// Is a keeper: starts servers, does as it is told, and ends them when standard input ends.
///
/// # Errors
/// Standard output is gone.
pub fn keep(installed: &Path, kinds: &[Kind]) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    // Beside the rest, to hear the end of its user while the servers start.
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
        process::give_up();
    });
    // Servers end with the thread that starts them: this one.
    let mut said = io::stdout().lock();
    let mut held = match Held::start(installed, kinds) {
        Ok(held) => held,
        Err(error) => return writeln!(said, "failed {}", one_line(&error)),
    };
    writeln!(said, "ready {}", held.file.display())?;
    for line in told {
        match held.obey(&line) {
            Ok(()) => writeln!(said, "done")?,
            Err(error) => writeln!(said, "failed {}", one_line(&error))?,
        }
    }
    Ok(())
}

fn one_line(error: &io::Error) -> String {
    error.to_string().replace('\n', " | ")
}

/// The servers; first they end, then their directory is removed.
struct Held {
    ceph: Option<Ceph>,
    _light: Vec<Light>,
    file: PathBuf,
    _place: Place,
}

impl Held {
    fn start(installed: &Path, kinds: &[Kind]) -> io::Result<Self> {
        let installed = &fs::canonicalize(installed).map_err(|error| {
            let place = installed.display();
            io::Error::other(format!(
                "no servers at {place} ({error}): run `cargo xtask servers install`"
            ))
        })?;
        let place = Place::below(&parent(installed, kinds))?;
        // They get ready while Ceph, which takes longest, is started.
        let mut light = Vec::new();
        for kind in kinds.iter().filter(|kind| **kind != Kind::Ceph) {
            light.push(Light::start(*kind, installed, place.path())?);
        }
        let ceph = if kinds.contains(&Kind::Ceph) {
            Some(Ceph::start(installed, place.path())?)
        } else {
            None
        };
        let mut servers: Vec<_> = ceph.iter().map(Ceph::server).collect();
        for light in &mut light {
            servers.push(light.ready()?);
        }
        let running = Running {
            program: env::current_exe()?,
            installed: installed.clone(),
            servers,
        };
        let file = place.path().join("servers.json");
        fs::write(&file, serde_json::to_vec_pretty(&running)?)?;
        Ok(Self {
            ceph,
            _light: light,
            file,
            _place: place,
        })
    }

    fn obey(&mut self, line: &str) -> io::Result<()> {
        let Some(ceph) = &mut self.ceph else {
            return Err(io::Error::other("there is no Ceph here"));
        };
        match line {
            "kill gateway" => ceph.kill_gateway(),
            "start gateway" => return ceph.start_gateway(),
            "kill osd" => ceph.kill_osd(),
            "start osd" => return ceph.start_osd(),
            _ => return Err(io::Error::other(format!("what is `{line}`?"))),
        }
        Ok(())
    }
}

/// The other end: whoever has it has servers.
#[derive(Debug)]
pub(super) struct Keeper {
    child: Child,
    tell: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
    /// The file about the servers.
    pub(super) file: PathBuf,
    parent: PathBuf,
}

impl Keeper {
    /// Starts servers of these kinds with a keeper.
    pub(super) fn start(program: &Path, installed: &Path, kinds: &[Kind]) -> io::Result<Self> {
        let names: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
        let mut command = Command::new(program);
        command
            .arg(KEEP)
            .arg("--installed")
            .arg(installed)
            .args(["--only", &names.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let gone = || io::Error::other("the keeper has no pipes");
        let mut keeper = Self {
            tell: Some(child.stdin.take().ok_or_else(gone)?),
            said: BufReader::new(child.stdout.take().ok_or_else(gone)?),
            child,
            file: PathBuf::new(),
            parent: parent(installed, kinds),
        };
        keeper.file = keeper.answer("ready ")?.into();
        Ok(keeper)
    }

    /// Has something done, and waits for it.
    pub(super) fn tell(&mut self, line: &str) -> io::Result<()> {
        let gone = || io::Error::other("the keeper has ended");
        writeln!(self.tell.as_ref().ok_or_else(gone)?, "{line}")?;
        self.answer("done").map(drop)
    }

    /// What follows `expected` in the next line.
    fn answer(&mut self, expected: &str) -> io::Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        match line.trim_end().strip_prefix(expected) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(io::Error::other(format!(
                "the servers did not start or do as told: {}",
                line.trim_end()
            ))),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.tell.take());
        let _ = self.child.wait();
        // In case it was killed.
        let _ = place::sweep(&self.parent);
    }
}
