//! Asking before something is done that nobody can undo.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use runpack_cli::table::{count, size};
use runpack_core::store::StoreError;
use runpack_enterprise::locked::{Consent, Irrevocable};

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Not: `--yes-irrevocable` was given.
    Not,
    /// At the terminal, where the number of versions must be typed.
    Typed,
}

impl Asking {
    /// How this process can ask; `None` if it cannot.
    pub(crate) fn of(is_given: bool) -> Option<Self> {
        if is_given {
            Some(Self::Not)
        } else {
            (io::stdin().is_terminal() && io::stderr().is_terminal()).then_some(Self::Typed)
        }
    }
}

impl Consent for Asking {
    fn to(&self, what: &Irrevocable) -> Result<(), StoreError> {
        if *self == Self::Not {
            return Ok(());
        }
        let mut stderr = io::stderr().lock();
        // Who cannot be shown the question cannot answer it.
        let asked = write!(
            stderr,
            "This cannot be undone by anybody, short of closing the account:\n  {} of {} in {}\n  locked in compliance mode until {}\nType the number of versions to lock them: ",
            count(what.objects, "version"),
            size(what.bytes),
            what.place,
            what.until,
        );
        let mut line = String::new();
        let read = asked
            .and_then(|()| stderr.flush())
            .and_then(|()| io::stdin().lock().read_line(&mut line));
        if read.is_ok() && line.trim() == what.objects.to_string() {
            return Ok(());
        }
        Err(no())
    }
}

/// Nobody can be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nobody;

impl Consent for Nobody {
    fn to(&self, _: &Irrevocable) -> Result<(), StoreError> {
        Err(no())
    }
}

fn no() -> StoreError {
    StoreError::Barred {
        reason: "a lock in compliance mode cannot be undone, and nobody consented to it: run it at a terminal, or give --yes-irrevocable".to_owned(),
    }
}
