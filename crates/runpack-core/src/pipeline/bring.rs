//! Bringing to another store what the run of a pipeline is held against and none of its packs holds: the entries of the
//! registry that its plan names by their SHA-256.
//!
//! Invariant: what is brought is what the plan of the verified pack names; an entry that is there is never replaced.

use super::agent::{AgentName, fetch_agent, register_agent};
use super::document::DOCUMENT_BYTES_MAX;
use super::plan::{Plan, PlanError};
use super::run::PipelineRun;
use crate::manifest::RunPart;
use crate::pin::Pins;
use crate::read::ReadError;
use crate::store::{Store, StoreError};
use crate::verify::{VerifyOptions, VerifyReport};

/// Why the entries were not brought.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BringError {
    /// The manifest of the run's pack is not sound.
    #[error("the pack of the run is not sound")]
    Run(#[source] Box<VerifyReport>),
    /// The plan in the run's pack could not be read.
    #[error("the plan of the run could not be read")]
    Read(#[from] ReadError),
    /// The plan is none.
    #[error("the plan of the run is none")]
    Plan(#[from] PlanError),
    /// The registry that they come from has no entry as the plan names it.
    #[error("the registry does not have the entry that the plan names, agent=`{agent}`")]
    Missing {
        /// Which agent.
        agent: AgentName,
    },
    /// A store failed, or has another entry there already.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BringError {
    /// Whether what they come from is at fault, so that the same again fails again.
    pub fn is_of_source(&self) -> bool {
        match self {
            Self::Read(ReadError::Store(_)) | Self::Store(_) => false,
            Self::Run(_) | Self::Read(_) | Self::Plan(_) | Self::Missing { .. } => true,
        }
    }
}

impl PipelineRun {
    /// Brings the entries of the registry that the plan of this run names by their SHA-256 to another store.
    ///
    /// # Errors
    /// The plan, or an entry as it names it, is not there; [`StoreError::AlreadyExists`] where the other store has another
    /// entry; a store fails.
    pub async fn bring_agents(
        &self,
        to: &dyn Store,
        options: &VerifyOptions,
    ) -> Result<(), BringError> {
        let pack = self.open(options).await.map_err(BringError::Run)?;
        let pins = Pins::pack_id(pack.manifest().pack_id());
        let name = RunPart::Plan.name();
        // A pack is its own pin, and has a plan: a manifest without one is none of a run.
        let own = pack
            .pinned(&pins)
            .map_err(|_| ReadError::NoSuchArtifact { name: name.clone() })?;
        let plan = own.read_to_vec(&name, DOCUMENT_BYTES_MAX).await?;
        let plan = Plan::parse(&plan)?;
        for (agent, sha256) in plan.pinned_agents() {
            let missing = || BringError::Missing {
                agent: agent.clone(),
            };
            let found = match fetch_agent(self.reader(), &agent).await {
                Ok(found) => found.filter(|(_, found)| *found == sha256),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let (entry, _) = found.ok_or_else(missing)?;
            register_agent(to, &entry).await?;
        }
        Ok(())
    }
}
