//! The servers that are pressed: each a process on a free port of loopback, ended when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::super::Bench;
use super::super::null_server::NullServer;
use super::super::store::Copiers;
use crate::command::{Result, read, shell, stopwatch};

const START_MAX: Duration = Duration::from_secs(30);
/// Nobody is bounded by a rate: all records come from one caller.
const SERVE: &str = "--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --rate 1000000";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runpack in front of a directory
    Runpack,
    /// Runpack with a spool, in front of a bucket
    Spooling,
    /// rclone in front of a directory
    Rclone,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Runpack => "runpack serve",
            Self::Spooling => "runpack serve --spool",
            Self::Rclone => "rclone serve s3 (syncs nothing, lets everybody in)",
        }
    }
}

/// What servers are started with.
pub(super) struct Servers<'a> {
    bench: &'a Bench<'a>,
    rclone: PathBuf,
    access: PathBuf,
    token: String,
}

/// A server that runs.
pub(super) struct Server {
    pub(super) kind: Kind,
    /// `http://HOST:PORT`
    pub(super) url: String,
    pub(super) token: String,
    process: Child,
    _bucket: Option<NullServer>,
}

impl<'a> Servers<'a> {
    pub(super) fn prepare(bench: &'a Bench<'a>) -> Result<Self> {
        let copiers = Copiers::install(bench)?;
        let made = read(&mut bench.runpack("server token --name bench --grant acme/*:read,write"))?;
        let (token, _) = made.split_once('\n').ok_or("no token was made")?;
        let (_, policy) = made.split_once("\ntokens:\n").ok_or("no policy was made")?;
        let access = bench.directory.join("access.yaml");
        fs::write(&access, format!("tokens:\n{policy}"))?;
        Ok(Self {
            bench,
            rclone: copiers.rclone,
            access,
            token: token.to_owned(),
        })
    }

    /// Starts a server with nothing in it, whose files lie in the directory.
    pub(super) fn start(&self, kind: Kind, directory: &Path) -> Result<Server> {
        fs::create_dir_all(directory)?;
        let at = directory.display();
        let rest = format!(
            "--access {} --state {at}/state {SERVE}",
            self.access.display()
        );
        match kind {
            Kind::Runpack => {
                let line = format!("serve file:{at}/store {rest}");
                self.spawn(kind, self.bench.runpack(&line), directory, None)
            }
            Kind::Spooling => {
                let program = self.bench.workspace.target.join("release/runpack-null-s3");
                let bucket = NullServer::start(program)?;
                let line = format!("serve s3://bench --spool {at}/spool {rest}");
                let serve = self.bench.at(&bucket.endpoint(), &line);
                self.spawn(kind, serve, directory, Some(bucket))
            }
            Kind::Rclone => {
                fs::create_dir_all(directory.join("store/bench"))?;
                let mut serve = Command::new(&self.rclone);
                serve
                    .args(["serve", "s3", "--addr", "127.0.0.1:0"])
                    .arg(directory.join("store"))
                    .env("RCLONE_CONFIG", "/dev/null");
                self.spawn(kind, serve, directory, None)
            }
        }
    }

    fn spawn(
        &self,
        kind: Kind,
        mut command: Command,
        directory: &Path,
        bucket: Option<NullServer>,
    ) -> Result<Server> {
        let log = directory.join("log");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let mut server = Server {
            kind,
            url: String::new(),
            token: self.token.clone(),
            process: command.spawn()?,
            _bucket: bucket,
        };
        let started = server.wait_until_it_listens(&log);
        started.map_err(|error| format!("`{}`: {error}", shell(&command)))?;
        Ok(server)
    }
}

impl Server {
    fn wait_until_it_listens(&mut self, log: &Path) -> Result {
        let watch = stopwatch();
        while watch.elapsed() < START_MAX {
            let text = fs::read_to_string(log)?;
            if let Some(address) = address(self.kind, &text) {
                self.url = format!("http://{address}");
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("it ended with {status}: {text}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("it did not say where it listens".into())
    }

    /// The peak of its resident memory so far, by the kernel's own account.
    pub(super) fn memory_mib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.ok_or("the kernel does not tell VmHWM")?.parse()?;
        Ok(kib.div_ceil(1024))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a server listens, as its log says.
fn address(kind: Kind, log: &str) -> Option<&str> {
    let before = match kind {
        Kind::Runpack | Kind::Spooling => "\"listen\":\"",
        Kind::Rclone => "[http://",
    };
    let (_, rest) = log.split_once(before)?;
    Some(rest.split_once(['"', '/'])?.0)
}

#[cfg(test)]
mod tests {
    use super::{Kind, address};

    #[test]
    fn an_address_is_read_when_all_of_it_is_there() {
        let told = r#"{"message":"serving","listen":"127.0.0.1:81","admin":"127.0.0.1:82"}"#;
        assert_eq!(address(Kind::Runpack, told), Some("127.0.0.1:81"));
        assert_eq!(address(Kind::Runpack, r#"{"listen":"127.0.0.1:8"#), None);
        let told = "NOTICE: Starting s3 server on [http://127.0.0.1:83/]";
        assert_eq!(address(Kind::Rclone, told), Some("127.0.0.1:83"));
    }
}
