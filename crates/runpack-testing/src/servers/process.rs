//! Programs that run in the background and end with whoever started them.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a server that starts is looked at, and for how long at most.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const START_MAX: Duration = Duration::from_secs(90);
/// Where servers listen.
const PORTS: RangeInclusive<u16> = 11_000..=31_000;
const PORT_TRIES: usize = 100;
/// Where the programs are that start servers.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that ends when the thread that started it does.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, in an environment that is the same on every machine.
    pub(super) fn start(
        name: &'static str,
        command: &Command,
        home: &Path,
        log: &Path,
    ) -> io::Result<Self> {
        let output = append(log)?;
        let mut bound = with_parent("KILL", command);
        bound
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("PATH", PATH)
            // A locale that is not there makes radosgw abort.
            .env("LC_ALL", "C")
            .env("HOME", home)
            .env("TMPDIR", home)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(Self {
            name,
            child: bound.spawn()?,
            log: log.to_owned(),
        })
    }

    /// Waits until `is_ready` says yes; a program that has ended or is never ready is an error.
    pub(super) fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) -> io::Result<()> {
        let since = now();
        while since.elapsed() < START_MAX {
            is_wanted()?;
            if is_ready() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.fault(&format!("ended with {status}")));
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(self.fault("does not get ready"))
    }

    /// Has it stand still, or go on.
    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).ok();
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn fault(&self, what: &str) -> io::Error {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<_> = log.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(8)..)
            .unwrap_or_default();
        io::Error::other(format!("{} {what}: {}", self.name, last.join(" | ")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether whoever the servers are for has gone while they start.
static IS_UNWANTED: AtomicBool = AtomicBool::new(false);

/// From now on nothing starts.
pub(super) fn give_up() {
    IS_UNWANTED.store(true, Ordering::SeqCst);
}

fn is_wanted() -> io::Result<()> {
    if IS_UNWANTED.load(Ordering::SeqCst) {
        return Err(io::Error::other("nobody waits for the servers any more"));
    }
    Ok(())
}

/// The same command, which gets the signal when the thread that starts it ends.
pub(super) fn with_parent(signal: &str, command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", signal, "--"]);
    bound.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        bound.current_dir(directory);
    }
    bound
}

/// Runs a command to its end and yields what it printed.
pub(super) fn run(command: &mut Command) -> io::Result<String> {
    is_wanted()?;
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let program = command.get_program().to_string_lossy();
    let said = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    let words = words.join(" ");
    Err(io::Error::other(format!(
        "`{program} {words}` failed, {status}: {}",
        said.trim()
    )))
}

/// Whether something listens at this port.
pub(super) fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Whether something answers in HTTP at this port.
pub(super) fn answers(port: u16) -> bool {
    let ask = || -> io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 5];
        stream.read_exact(&mut start)?;
        Ok(&start == b"HTTP/")
    };
    ask().unwrap_or(false)
}

/// Ports of loopback that were free a moment ago, all different. They are below those that the system gives to
/// outgoing connections, so that nobody gets one by chance: not before it is used, and not while a killed server
/// is away.
pub(super) fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    let mut held = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = (0..PORT_TRIES)
            .find_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, random_port())).ok())
            .ok_or_else(|| io::Error::other("no free port on loopback"))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn random_port() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    let span = u64::from(PORTS.end() - PORTS.start());
    PORTS.start() + u16::try_from(random % span).unwrap_or(0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a real program takes to start is no input of a test"
)]
fn now() -> Instant {
    Instant::now()
}

fn append(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}
