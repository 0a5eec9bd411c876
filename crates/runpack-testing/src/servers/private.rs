//! A Ceph of a test's own, to be killed.

use super::keeper::Keeper;
use super::{Kind, Running, Server};

/// A Ceph that only one test uses. Its processes and its directory go when it is dropped, and when the test
/// is killed.
#[derive(Debug)]
pub struct PrivateCeph {
    keeper: Keeper,
    server: Server,
}

impl PrivateCeph {
    /// Starts one, which takes seconds.
    ///
    /// # Panics
    /// The tests are not run by `runpack-servers`, or Ceph does not start.
    pub fn start() -> Self {
        let running = Running::read();
        let keeper = Keeper::start(&running.program, &running.installed, &[Kind::Ceph]).unwrap();
        let started = std::fs::read(&keeper.file).unwrap();
        let started: Running = serde_json::from_slice(&started).unwrap();
        let server = started.servers.into_iter().next().unwrap();
        Self { keeper, server }
    }

    /// What it is and where.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Ends the gateway as a power cut would: what it has not acknowledged may be lost.
    pub fn kill_gateway(&mut self) {
        self.keeper.tell("kill gateway").unwrap();
    }

    /// Starts the gateway again, at the same endpoints.
    pub fn start_gateway(&mut self) {
        self.keeper.tell("start gateway").unwrap();
    }

    /// Ends the object store behind the gateway, which then waits for it.
    pub fn kill_osd(&mut self) {
        self.keeper.tell("kill osd").unwrap();
    }

    /// Starts the object store again.
    pub fn start_osd(&mut self) {
        self.keeper.tell("start osd").unwrap();
    }
}
