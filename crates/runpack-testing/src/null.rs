//! An S3 server that costs next to nothing, to measure clients by: it keeps objects in memory and checks
//! nothing.
//!
//! Bodies are kept up to a limit, and zeros of the right size are served beyond it. Checksums are those that the
//! client stated. Every bucket exists. One thread a connection and no asynchrony: it is as fast as its sockets.
//! It proves nothing about a store: for that there are real servers ([`crate::servers`]).

mod answer;
mod listing;
mod memory;
mod request;

use std::io::{self, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub(crate) use answer::http_date;

use self::memory::Memory;

/// The buffer of a connection: pieces of a body that are larger go around it.
const BUFFER_BYTES: usize = 64 << 10;

/// A null server in this process. It takes no new connections when it is dropped.
#[derive(Debug)]
pub struct NullS3 {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl NullS3 {
    /// Starts one that keeps so many bytes of bodies.
    pub fn start(bytes_kept_max: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        thread::spawn(move || accept(&listener, Memory::new(bytes_kept_max), &over));
        Self { address, is_over }
    }

    /// Where it listens, as `http://HOST:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for NullS3 {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// When memory for bodies is first touched, which takes longer than filling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// When a body comes.
    Late,
    /// Before the first request, for bodies in parts of 8 MiB.
    AtOnce,
}

/// Serves whoever connects, for ever, keeping so many bytes of bodies. `begin` is called when all is ready.
pub fn serve(listener: &TcpListener, bytes_kept_max: u64, touch: Touch, begin: impl FnOnce()) {
    let memory = Memory::new(bytes_kept_max);
    if touch == Touch::AtOnce {
        memory.warm();
    }
    begin();
    accept(listener, memory, &AtomicBool::new(false));
}

fn accept(listener: &TcpListener, memory: Memory, is_over: &AtomicBool) {
    let memory = Arc::new(memory);
    for stream in listener.incoming() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let memory = Arc::clone(&memory);
        // A client may hang up at any time.
        thread::spawn(move || connection(&stream, &memory));
    }
}

fn connection(stream: &TcpStream, memory: &Memory) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    while request::serve(&mut reader, stream, memory)? {}
    Ok(())
}
