//! Opening an execution: who it is, whose, and since when.

use bytes::Bytes;
use runpack_core::id::{ExecutionId, Organization, Project};
use runpack_core::key::LiveObject;
use runpack_core::manifest::Text;
use runpack_core::store::StoreError;
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExecutionError, Executions, Owner};
use crate::bytes_of;
use crate::once::{self, Stands};

const FORMAT: &str = "runpack-execution-opening/v1";
const OPENING_BYTES_MAX: u64 = 64 << 10;

/// What a client says when it opens an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// A ULID; minted by the server where none is given. With one, the same call again is the same execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "01JD3M7Z9X8QWERTYASDFGHJKM")]
    pub execution_id: Option<ExecutionId>,
    /// Whose it is.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", example = "acme")]
    pub organization: Organization,
    /// In which project.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", example = "bench")]
    pub project: Project,
    /// What runs it: `hil-bench`, `github-runner`.
    #[schema(value_type = String, min_length = 1, max_length = 128, example = "hil-bench")]
    pub runner_type: Text<128>,
    /// The bench, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub bench_id: Option<Text<128>>,
    /// The reservation under which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub reservation_id: Option<Text<128>>,
    /// The suite of tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub suite: Option<Text<256>>,
    /// When it began, as the client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", example = "2026-11-20T12:00:00Z")]
    pub started_at: Option<Timestamp>,
}

/// `opening.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    format: String,
    /// By the server's clock.
    pub opened_at: Timestamp,
    /// Who opened it, as they were authenticated.
    pub opened_by: String,
    /// What they said.
    pub said: Open,
}

impl Opening {
    /// Whose it is.
    pub fn owner(&self) -> Owner {
        Owner {
            organization: self.said.organization.clone(),
            project: self.said.project.clone(),
        }
    }

    /// When it began: as the client said, else when it was opened.
    pub fn started_at(&self) -> Timestamp {
        self.said.started_at.unwrap_or(self.opened_at)
    }
}

/// An execution that is open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Which one.
    pub execution_id: ExecutionId,
    /// Whether this call opened it.
    pub is_new: bool,
}

impl Executions {
    /// Opens an execution.
    ///
    /// # Errors
    /// [`ExecutionError::OpenedOtherwise`] where this id was opened with something else; as the store fails.
    pub async fn open(&self, said: Open, by: &str) -> Result<Opened, ExecutionError> {
        let opened_at = self.clock.now();
        let execution_id = match &said.execution_id {
            Some(id) => id.clone(),
            None => mint(opened_at)?,
        };
        let opening = Opening {
            format: FORMAT.to_owned(),
            opened_at,
            opened_by: by.to_owned(),
            said,
        };
        let key = Self::live(&execution_id, LiveObject::Opening)?;
        // Texts always serialize.
        let bytes = Bytes::from(serde_json::to_vec(&opening).unwrap_or_default());
        let (stands, _) = once::create(&*self.store, self.keeper(), &key, &bytes).await?;
        if stands == Stands::Ours {
            return Ok(Opened {
                execution_id,
                is_new: true,
            });
        }
        let there = self.opening(&execution_id).await?;
        if there.said != opening.said || there.opened_by != opening.opened_by {
            return Err(ExecutionError::OpenedOtherwise(execution_id));
        }
        Ok(Opened {
            execution_id,
            is_new: false,
        })
    }

    /// What is known of an execution since it was opened.
    ///
    /// # Errors
    /// [`ExecutionError::NotFound`]; what is there is no opening; as the store fails.
    pub async fn opening(&self, id: &ExecutionId) -> Result<Opening, ExecutionError> {
        let key = Self::live(id, LiveObject::Opening)?;
        let object = match self.store.oldest(&key).await {
            Ok((object, _)) => object,
            Err(StoreError::NotFound { .. }) => return Err(ExecutionError::NotFound(id.clone())),
            Err(error) => return Err(error.into()),
        };
        let bytes = bytes_of(&*self.store, &object, OPENING_BYTES_MAX).await?;
        let opening = bytes.and_then(|bytes| serde_json::from_slice::<Opening>(&bytes).ok());
        opening
            .filter(|opening| {
                let said = opening.said.execution_id.as_ref();
                opening.format == FORMAT && said.is_none_or(|said| said == id)
            })
            .ok_or_else(|| ExecutionError::Damaged {
                key: key.to_string(),
                reason: "it is no opening of this execution",
            })
    }
}

/// A new ULID whose time is the clock's.
fn mint(now: Timestamp) -> Result<ExecutionId, ExecutionError> {
    let milliseconds = now.unix_seconds().saturating_mul(1_000);
    let minted = ulid::Ulid::from_parts(milliseconds, ulid::Ulid::generate().random());
    let parsed = minted.to_string().parse();
    parsed.map_err(|error: runpack_core::id::IdError| ExecutionError::Unexpected(error.to_string()))
}
