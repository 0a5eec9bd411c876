//! The server that clients are measured by, as a process: `runpack-null-s3`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::command::Result;

/// A server that remembers and checks nothing.
pub(super) struct NullServer {
    program: PathBuf,
    running: Option<(Child, String)>,
}

impl NullServer {
    pub(super) fn start(program: PathBuf) -> Result<Self> {
        let mut server = Self {
            program,
            running: None,
        };
        server.restart()?;
        Ok(server)
    }

    /// Ends it and starts it again at the same port, empty.
    pub(super) fn restart(&mut self) -> Result {
        let port = match &self.running {
            Some((_, endpoint)) => endpoint.rsplit(':').next().unwrap_or("0").to_owned(),
            None => "0".to_owned(),
        };
        self.stop()?;
        let mut child = Command::new(&self.program)
            .args(["--port", &port])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("the null server says nothing")?;
        let mut endpoint = String::new();
        BufReader::new(out).read_line(&mut endpoint)?;
        self.running = Some((child, endpoint.trim().to_owned()));
        Ok(())
    }

    fn stop(&mut self) -> Result {
        if let Some((mut child, _)) = self.running.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// `http://HOST:PORT`
    pub(super) fn endpoint(&self) -> String {
        self.running
            .as_ref()
            .map(|(_, endpoint)| endpoint.clone())
            .unwrap_or_default()
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.stop();
    }
}
