//! Which calls were made, and which of them fail.

use std::fmt;
use std::io;
use std::sync::Mutex;

use rustix::io::Errno;

use super::Call;

/// Says of the call with this number (from 0) whether and how it fails.
type Decide = Box<dyn FnMut(Call, usize) -> Option<Errno> + Send>;

pub(in super::super) struct Faults(Mutex<(Vec<Call>, Decide)>);

impl Faults {
    pub(in super::super) fn new(
        decide: impl FnMut(Call, usize) -> Option<Errno> + Send + 'static,
    ) -> Self {
        Self(Mutex::new((Vec::new(), Box::new(decide))))
    }

    pub(super) fn meet(&self, call: Call) -> io::Result<()> {
        let (calls, decide) = &mut *self.0.lock().unwrap();
        let fault = decide(call, calls.len());
        calls.push(call);
        fault.map_or(Ok(()), |errno| Err(errno.into()))
    }

    /// The calls that were made, those that failed too.
    pub(in super::super) fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().0.clone()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}
