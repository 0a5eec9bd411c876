//! Ceph on loopback: one monitor, one object store on a sparse file, one gateway, plain and in TLS.
//!
//! The programs run in a root of their own (`chroot`), so nothing of Ceph is installed on the machine; their
//! state is a directory inside that root.

mod conf;
mod tls;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::conf::Conf;
use super::process::{Process, answers, free_ports, run};
use super::{CEPH, Kind, STARTS, Server};

/// The users: name, access key, secret.
const USERS: [[&str; 3]; 2] = [
    ["main", "rgwaccess0001", "rgwsecret000000000000000001"],
    ["alt", "rgwaccess0002", "rgwsecret000000000000000002"],
];

/// The part of the installation that Ceph's state lies in.
pub(super) fn state_parent(installed: &Path) -> PathBuf {
    installed.join(CEPH).join("srv")
}

/// A cluster that runs.
#[derive(Debug)]
pub(super) struct Ceph {
    home: Home,
    conf: Conf,
    // The order in which they end.
    gateway: Option<Process>,
    osd: Option<Process>,
    _monitor: Process,
}

/// Where the programs and their state are.
#[derive(Debug, Clone)]
struct Home {
    root: PathBuf,
    /// The state, seen from outside the root.
    directory: PathBuf,
    /// The same, seen from inside.
    inside: String,
}

impl Home {
    /// A command that runs inside the root.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if !rustix::process::getuid().is_root() {
            words.extend(["unshare", "--user", "--map-root-user"].map(OsString::from));
        }
        words.extend(["chroot".into(), self.root.clone().into_os_string()]);
        words.extend([program, "-c", &format!("{}/ceph.conf", self.inside)].map(OsString::from));
        words.extend(arguments.iter().map(OsString::from));
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env("LC_ALL", "C");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        run(&mut self.command(program, arguments))
    }

    fn start(&self, name: &'static str, program: &str, arguments: &[&str]) -> io::Result<Process> {
        let log = self.directory.join("log").join(format!("{name}.out"));
        let command = self.command(program, arguments);
        Process::start(name, &command, Path::new("/"), &log)
    }
}

impl Ceph {
    /// Starts a new cluster with its state below `parent`, which is inside the root. A port that was free may
    /// be taken a moment later: then all of it is tried again on others.
    pub(super) fn start(installed: &Path, parent: &Path) -> io::Result<Self> {
        let mut tries = 1..=STARTS;
        loop {
            let number = tries.next().unwrap_or(STARTS);
            match Self::try_start(installed, &parent.join(format!("ceph-{number}"))) {
                Err(_) if number < STARTS => {}
                outcome => return outcome,
            }
        }
    }

    fn try_start(installed: &Path, directory: &Path) -> io::Result<Self> {
        let root = installed.join(CEPH);
        let inside = directory
            .strip_prefix(&root)
            .map_err(|_| io::Error::other("the state of Ceph must lie inside its root"))?;
        let home = Home {
            inside: format!("/{}", inside.display()),
            directory: directory.to_owned(),
            root,
        };
        for name in ["mon", "osd", "log", "run", "crash"] {
            fs::create_dir_all(directory.join(name))?;
        }
        tls::make_certificate(directory)?;
        let [monitor_port, port, tls_port] = free_ports()?;
        let conf = Conf {
            fsid: uuid()?,
            state: home.inside.clone(),
            monitor_port,
            port,
            tls_port,
        };
        fs::write(directory.join("ceph.conf"), conf.to_string())?;

        let map = format!("{}/monmap", home.inside);
        let address = format!("[v2:127.0.0.1:{monitor_port}]");
        let make = [
            "--create", "--fsid", &conf.fsid, "--addv", "a", &address, &map,
        ];
        home.run("monmaptool", &make)?;
        home.run("ceph-mon", &["-i", "a", "--mkfs", "--monmap", &map])?;
        let mut monitor = home.start("mon", "ceph-mon", &["-i", "a", "-f"])?;
        let identity = uuid()?;
        // Waits for the monitor by itself, for as long as that lives.
        monitor.wait_until(|| {
            home.run(
                "ceph",
                &["--connect-timeout", "5", "osd", "new", &identity, "0"],
            )
            .is_ok()
        })?;
        let place = ["root=default", "host=node"];
        let place = ["osd", "crush", "add", "osd.0", "1.0", place[0], place[1]];
        home.run("ceph", &place)?;
        home.run("ceph-osd", &["-i", "0", "--mkfs", "--osd-uuid", &identity])?;

        let mut ceph = Self {
            home,
            conf,
            gateway: None,
            osd: None,
            _monitor: monitor,
        };
        ceph.start_osd()?;
        ceph.start_gateway()?;
        for [name, access_key, secret] in USERS {
            let make = ["user", "create", "--uid", name, "--display-name", name];
            let keys = ["--access-key", access_key, "--secret", secret];
            ceph.home
                .run("radosgw-admin", &[&make[..], &keys[..]].concat())?;
        }
        Ok(ceph)
    }

    pub(super) fn server(&self) -> Server {
        let [[_, access_key, secret], [_, alt_access_key, alt_secret]] = USERS;
        Server {
            kind: Kind::Ceph,
            endpoint: format!("http://127.0.0.1:{}", self.conf.port),
            tls_endpoint: Some(format!("https://127.0.0.1:{}", self.conf.tls_port)),
            ca_pem: Some(self.home.directory.join(tls::CA)),
            access_key: access_key.to_owned(),
            secret_key: secret.to_owned(),
            alt_access_key: Some(alt_access_key.to_owned()),
            alt_secret_key: Some(alt_secret.to_owned()),
            region: "default".to_owned(),
        }
    }

    /// Starts the gateway unless it runs, and waits until it answers.
    pub(super) fn start_gateway(&mut self) -> io::Result<()> {
        if self.gateway.is_none() {
            let home = &self.home;
            let mut gateway = home.start("rgw", "radosgw", &["-n", "client.rgw", "-f"])?;
            gateway.wait_until(|| answers(self.conf.port))?;
            self.gateway = Some(gateway);
        }
        Ok(())
    }

    /// Ends the gateway as a power cut would.
    pub(super) fn kill_gateway(&mut self) {
        self.gateway = None;
    }

    /// Starts the object store unless it runs, and waits until the monitor knows of it.
    pub(super) fn start_osd(&mut self) -> io::Result<()> {
        if self.osd.is_none() {
            // After a kill the monitor takes the old one for up: only a newer start counts.
            let before = self.osd_up_from()?;
            let mut osd = self.home.start("osd", "ceph-osd", &["-i", "0", "-f"])?;
            osd.wait_until(|| self.osd_up_from().is_ok_and(|epoch| epoch > before))?;
            self.osd = Some(osd);
        }
        Ok(())
    }

    /// Ends the object store as a power cut would.
    pub(super) fn kill_osd(&mut self) {
        self.osd = None;
    }

    /// The epoch in which the object store last came up, by what the monitor says.
    fn osd_up_from(&self) -> io::Result<u64> {
        let dump = self
            .home
            .run("ceph", &["osd", "dump", "--format", "json"])?;
        let dump: serde_json::Value = serde_json::from_str(&dump)?;
        let osd = &dump["osds"][0];
        let epoch = osd["up_from"].as_u64().filter(|_| osd["up"] == 1);
        Ok(epoch.unwrap_or(0))
    }
}

/// An identity that nobody else has, from the system.
fn uuid() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?
        .trim()
        .to_owned())
}
