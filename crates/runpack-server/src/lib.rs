//! Records, executions and packs over HTTP, in front of a directory or a bucket.
//!
//! A [`service::Service`] is what is served: a store, who may use it, and the log of who did. [`listen::serve`] puts it
//! behind a socket. What the server keeps lies in the store alone, so that several of them may stand in front of one; the
//! exception is a spool ([`spool::SpoolStore`]), which holds what the store has not taken yet.
//!
//! | to understand | begin with |
//! |---|---|
//! | what is served | [`service`], `api` |
//! | who may do what | [`access`] |
//! | what a record is, and how one is kept | [`record`] |
//! | what an execution is while it runs, and how it becomes a pack | [`execution`] |
//! | what happens while the store is away | [`spool`] |
//! | who is told of packs | [`commits`] |
//! | how files that a bench or a service wrote come to the store | [`ship`] |
//! | sockets, TLS, deadlines | [`listen`] |
//! | how another program asks a server | [`client`] |
//! | what agents are offered | [`mcp`] |

pub mod access;
pub mod api;
pub mod audit;
pub mod client;
pub mod commits;
pub mod execution;
pub mod json;
pub mod links;
pub mod listen;
pub mod mcp;
pub mod metrics;
mod once;
pub mod packs;
mod probe;
pub mod problem;
pub mod record;
mod remote;
pub mod service;
pub mod ship;
pub mod spool;
pub mod staging;

pub use remote::RemoteError;
use runpack_core::store::{ArtifactReader, ObjectRef, StoreError};

/// Reads a whole object of at most `bytes_max` bytes, growing as bytes come and not by what the store claims. `None`
/// where it is larger.
pub(crate) async fn bytes_of(
    reader: &dyn ArtifactReader,
    object: &ObjectRef,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut body = reader.open(object, 0..bytes_max.saturating_add(1)).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}
