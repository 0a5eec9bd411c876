//! What this machine keeps of locked storage, and where: receipts, proofs, heads of ledgers, the audit log.

use std::path::PathBuf;
use std::sync::Arc;

use runpack_cli::clock::SystemClock;
use runpack_cli::storage::Storage;
use runpack_cli::{Context, Failure};
use runpack_enterprise::audit::{AuditError, AuditLog, Outcome};
use runpack_enterprise::ledger::HeadBook;
use runpack_enterprise::locked::{Consent, Locking};
use runpack_enterprise::prove::ProofBook;
use runpack_enterprise::receipt::LockBook;
use serde_json::Value;

use crate::consent::{Asking, Nobody};
use crate::{keys, options};

/// What this machine keeps.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    state: PathBuf,
    by: String,
}

impl Desk {
    /// That of this command.
    ///
    /// # Errors
    /// There is no place for it.
    pub(crate) fn of(context: &Context) -> Result<Self, Failure> {
        let user = context.environment.user.as_ref();
        let user = user.map_or("unknown".into(), |user| user.to_string_lossy());
        let host = rustix::system::uname();
        Ok(Self {
            state: context.environment.state()?,
            by: format!("{user}@{}", host.nodename().to_string_lossy()),
        })
    }

    /// Who acts.
    pub(crate) fn by(&self) -> &str {
        &self.by
    }

    pub(crate) fn audit(&self) -> AuditLog {
        AuditLog::new(self.state.join("audit"), &self.by)
    }

    pub(crate) fn locks(&self) -> LockBook {
        LockBook::new(self.state.join("locks"))
    }

    pub(crate) fn heads(&self) -> HeadBook {
        HeadBook::new(self.state.join("holds"))
    }

    pub(crate) fn proofs(&self) -> ProofBook {
        ProofBook::new(self.state.join("proofs"))
    }

    /// Where transcripts and campaigns are kept.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// What a locked store is made of, for the store that was opened.
    ///
    /// # Errors
    /// A key that was named is none.
    pub(crate) fn locking(&self, context: &Context, storage: &Storage) -> Result<Locking, Failure> {
        let consent: Arc<dyn Consent> = match Asking::of(options::consents(&context.given)) {
            Some(asking) => Arc::new(asking),
            None => Arc::new(Nobody),
        };
        Ok(Locking {
            place: storage.place(),
            book: self.locks(),
            audit: self.audit(),
            clock: Arc::new(SystemClock),
            consent,
            signer: keys::optional_signer(context)?,
            trusted: keys::named(context)?,
            heads: self.heads(),
        })
    }

    /// Writes an action down.
    ///
    /// # Errors
    /// It could not be.
    pub(crate) fn log(&self, action: &str, outcome: Outcome, detail: Value) -> Result<(), Failure> {
        let written = self.audit().append(&SystemClock, action, outcome, detail);
        written.map(drop).map_err(|error| of_audit(&error))
    }
}

/// Why the audit log was not read or written.
pub(crate) fn of_audit(error: &AuditError) -> Failure {
    let failure = Failure::new(
        "the audit log cannot be relied on",
        "keep it as it is, and compare it with a copy or a signed head from before",
    );
    let exit = match error {
        AuditError::Io { .. } | AuditError::Sign(_) => runpack_cli::Exit::Trouble,
        _ => runpack_cli::Exit::Invalid,
    };
    failure.because(error).with_exit(exit)
}
