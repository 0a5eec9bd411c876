//! MiniStack and moto: one process each, everything in memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, answers, free_ports};
use super::{Kind, PYTHON, STARTS, Server};

/// A server written in Python.
#[derive(Debug)]
pub(super) struct Light {
    process: Process,
    kind: Kind,
    port: u16,
    installed: PathBuf,
    directory: PathBuf,
}

impl Light {
    /// Starts it; it is not ready yet.
    pub(super) fn start(kind: Kind, installed: &Path, directory: &Path) -> io::Result<Self> {
        let [port] = free_ports()?;
        let home = directory.join(kind.as_str());
        fs::create_dir_all(&home)?;
        let mut python = Command::new(installed.join(PYTHON).join("bin/python"));
        python.current_dir(&home);
        if kind == Kind::Moto {
            let port = port.to_string();
            python.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port]);
        } else {
            python
                .args(["-m", "ministack"])
                // By default it listens to the world.
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .env("SERVICES", "s3");
        }
        let process = Process::start(kind.as_str(), &python, &home, &home.join("log"))?;
        Ok(Self {
            process,
            kind,
            port,
            installed: installed.to_owned(),
            directory: directory.to_owned(),
        })
    }

    /// Waits until it answers. A port that was free may have been taken a moment later: then it is started on
    /// another.
    pub(super) fn ready(&mut self) -> io::Result<Server> {
        for _ in 1..STARTS {
            let port = self.port;
            if self.process.wait_until(|| answers(port)).is_ok() {
                break;
            }
            *self = Self::start(self.kind, &self.installed, &self.directory)?;
        }
        let port = self.port;
        self.process.wait_until(|| answers(port))?;
        Ok(Server {
            kind: self.kind,
            endpoint: format!("http://127.0.0.1:{port}"),
            tls_endpoint: None,
            ca_pem: None,
            access_key: "test".to_owned(),
            secret_key: "testsecret".to_owned(),
            alt_access_key: None,
            alt_secret_key: None,
            region: "us-east-1".to_owned(),
        })
    }
}
