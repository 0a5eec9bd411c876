//! Shipping one record: the payload as a client would have sent it, kept and read back.

use std::sync::Arc;

use runpack_core::digest::Digest;
use runpack_core::id::RunId;

use super::backoff::Backoff;
use super::execution::Proved;
use super::marker::{Kept, ShippedFile};
use super::problem::Problem;
use super::tree::{Folder, Look};
use crate::json::JsonError;
use crate::record::{Envelope, Keeping, Records, Stream};

/// The file that is shipped.
pub(super) const PAYLOAD: &str = "payload.json";

/// Where records go.
#[derive(Debug)]
pub(super) struct ToRecords {
    pub(super) records: Records,
    pub(super) by: String,
}

/// A record in the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) stream: &'a Stream,
    pub(super) run_id: &'a RunId,
    pub(super) folder: &'a Arc<Folder>,
    pub(super) look: &'a Look,
}

impl ToRecords {
    pub(super) async fn ship(
        &self,
        found: Found<'_>,
        backoff: &Backoff,
    ) -> Result<Proved, Problem> {
        let Found {
            stream,
            run_id,
            folder,
            look,
        } = found;
        let path = || folder.path().join(PAYLOAD);
        let Some(stamp) = look.files.get(PAYLOAD.as_bytes()).copied() else {
            return Err(Problem::SourceChanged(path()));
        };
        let bytes_max = self.records.limits().body_bytes_max;
        let document = |source| Problem::Document {
            path: path(),
            source,
        };
        let body = folder
            .read_whole(PAYLOAD.as_bytes(), stamp, bytes_max)
            .await?;
        let body = body.ok_or_else(|| {
            document(JsonError::at(
                ".",
                format_args!("at most {bytes_max} bytes"),
            ))
        })?;
        let envelope = Envelope::parse(&body, self.records.limits()).map_err(document)?;
        agree(&envelope, stream, run_id)?;
        let kept = backoff
            .tries(|| self.records.keep(&envelope, &body, &self.by))
            .await?;
        let sha256 = Digest::of(&body);
        if kept.keeping == Keeping::First {
            return Err(Problem::Conflict(format!(
                "body_sha256=`{}`",
                kept.head.body_sha256
            )));
        }
        self.read_back(stream, run_id, sha256, backoff).await?;
        let file = ShippedFile {
            path: PAYLOAD.parse().map_err(|source| Problem::Name {
                path: path(),
                source,
            })?,
            artifact: None,
            bytes: stamp.bytes,
            sha256,
        };
        Ok(Proved {
            kept: Kept::BodySha256(sha256),
            key: kept.key.to_string(),
            files: vec![file],
        })
    }

    /// That the store has a record of this body.
    pub(super) async fn read_back(
        &self,
        stream: &Stream,
        run_id: &RunId,
        body_sha256: Digest,
        backoff: &Backoff,
    ) -> Result<(), Problem> {
        let stored = backoff.tries(|| self.records.read(stream, run_id)).await?;
        if Digest::of(stored.body()) == body_sha256 {
            return Ok(());
        }
        Err(Problem::Unproven {
            reason: "it is another body".to_owned(),
            may_pass: false,
        })
    }
}

/// That a payload says of itself what its path says.
fn agree(envelope: &Envelope<'_>, stream: &Stream, run_id: &RunId) -> Result<(), Problem> {
    let says = envelope.stream();
    let pairs = [
        (
            "organization",
            says.organization.as_str(),
            stream.organization.as_str(),
        ),
        ("project", says.project.as_str(), stream.project.as_str()),
        ("service", says.service.as_str(), stream.service.as_str()),
        ("run_id", envelope.run_id().as_str(), run_id.as_str()),
    ];
    match pairs.into_iter().find(|(_, body, path)| body != path) {
        None => Ok(()),
        Some((part, body, path)) => Err(Problem::Identity {
            part,
            body: body.to_owned(),
            path: path.to_owned(),
        }),
    }
}
