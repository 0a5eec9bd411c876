//! `runpack mcp`: tools for agents over stdio.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runpack_core::id::{Namespace, Tenant};
use runpack_server::audit::AuditLog;
use runpack_server::links::Links;
use runpack_server::mcp::{ToolLimits, ToolParts, Tools, operator};

use tokio::time::timeout;

use super::Execute;
use super::index::Index;
use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::storage::{Access, Storage, StoreAddress, parse_store};

/// Give an agent tools to export, verify and list packs (Model Context Protocol over stdio)
///
/// For the configuration of an MCP client: it starts this program and speaks with it over standard input and output. The
/// agent may do what is granted here and nothing else: in the whole store, or in one tenant or namespace; with inline
/// artifacts, or with files below --root too. `runpack serve` has the same tools over HTTP at /mcp, by token.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Mcp {
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// Only packs of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// Only packs of this namespace of the tenant
    #[arg(long, value_name = "NAMESPACE", requires = "tenant")]
    namespace: Option<Namespace>,
    /// A directory: the agent may name files and packs below it by their paths
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A directory for an audit log of what the agent did
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack mcp file:/srv/packs --tenant acme --root ./project

In the configuration of a client:
  {\"mcpServers\": {\"runpack\": {\"command\": \"runpack\", \"args\": [\"mcp\", \"file:/srv/packs\", \"--tenant\", \"acme\"]}}}";

/// How long the catalog has to take what was committed last.
const INDEX_WITHIN: Duration = Duration::from_secs(20);

impl Execute for Mcp {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        context.use_threads()?;
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open(context, &address, Access::Write)?;
        let audit = self.audit.as_deref().map(|directory| {
            AuditLog::open(directory, "mcp", Arc::new(SystemClock)).map_err(|error| unfit(&error))
        });
        let audit = audit.transpose()?.map(Arc::new);
        let (store, packs) = (storage.store(), context.limits(&self.limits)?);
        let (index, on_commit) = Index::of(context, &storage, &store, &packs)?.unzip();
        let tools = Tools::new(ToolParts {
            store,
            keeper: Some(storage.housekeeping()),
            links: storage
                .s3()
                .map(|bucket| -> Arc<dyn Links> { Arc::new(bucket.clone()) }),
            caller: operator(self.tenant.as_ref(), self.namespace.as_ref()),
            root: self.root.as_deref(),
            audit: audit.clone(),
            on_commit,
            clock: Arc::new(SystemClock),
            producer: context.producer.clone(),
            packs,
            limits: ToolLimits::default(),
        });
        let tools = tools.map_err(|error| unfit(&error))?;
        context.wait(async {
            let (ended, ending) = tokio::sync::oneshot::channel::<()>();
            let indexing = index.map(|index| tokio::spawn(index.run(async { drop(ending.await) })));
            let served = tools.serve_stdio().await;
            drop(ended);
            if let Some(indexing) = indexing {
                let _ = timeout(INDEX_WITHIN, indexing).await;
            }
            if let Some(audit) = &audit {
                audit.close().await;
            }
            served.map_err(|error| unfit(&error))
        })??;
        Ok(Exit::Success)
    }
}

fn unfit(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        "the tools cannot be offered",
        "correct what is named; an MCP client starts this program by itself",
    )
    .because(error)
}
