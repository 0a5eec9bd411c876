//! SIGTERM and SIGINT end the server, SIGHUP has it read its files again.

use std::io;
use std::sync::Arc;

use runpack_core::display::chain;
use runpack_server::listen::Transport;
use runpack_server::service::Service;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Handles what comes until the server is to end, tells so, and then waits for the end of the process, which a second
    /// signal brings about at once.
    pub(super) async fn handle(
        mut self,
        stop: watch::Sender<bool>,
        service: &Arc<Service>,
        transport: &Transport,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => reload(service, transport),
            }
        }
        tracing::info!("stopping: what is under way is finished");
        let _ = stop.send(true);
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::warn!("stopped at once by a second signal");
    }
}

/// What cannot be read stays as it was.
fn reload(service: &Service, transport: &Transport) {
    match service.reload_access() {
        Ok(()) => tracing::info!("the access policy was read again"),
        Err(error) => {
            tracing::error!(error = chain(&error), "the access policy stays as it was");
        }
    }
    if let Transport::Tls(settings) = transport {
        match settings.reload() {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(error = chain(&error), "the certificate stays as it was"),
        }
    }
}
