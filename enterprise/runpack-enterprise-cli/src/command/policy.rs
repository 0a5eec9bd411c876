//! `policy`: bucket policies that keep evidence, made and judged.

mod generate;
mod lint;

use clap::{Args, Subcommand, ValueEnum};
use runpack_cli::storage::{BucketAddress, StoreAddress};
use runpack_cli::{Context, Exit, Failure};
use runpack_enterprise::policy::{Dialect, PrincipalArn};

/// Make and judge bucket policies that keep evidence
#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Generate(generate::PolicyGenerate),
    Lint(lint::PolicyLint),
}

impl PolicyCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Generate(command) => command.run(context),
            What::Lint(command) => command.run(context),
        }
    }
}

/// Whose server it is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Server {
    /// Amazon S3
    Aws,
    /// Ceph's gateway
    Ceph,
    /// MinIO, whose policies are attached to users and groups
    Minio,
}

impl From<Server> for Dialect {
    fn from(server: Server) -> Self {
        match server {
            Server::Aws => Self::Aws,
            Server::Ceph => Self::Ceph,
            Server::Minio => Self::MinIo,
        }
    }
}

/// Who is meant to be able to do more than everybody.
#[derive(Debug, Clone, Args)]
struct RoleOptions {
    /// Who places and clears legal holds: the ARN of a user or role; may be given several times
    #[arg(long = "holder", value_name = "ARN")]
    holders: Vec<PrincipalArn>,
    /// Who removes what is not locked
    #[arg(long = "cleaner", value_name = "ARN")]
    cleaners: Vec<PrincipalArn>,
    /// Who changes the settings of the bucket, and its policy
    #[arg(long = "administrator", value_name = "ARN")]
    administrators: Vec<PrincipalArn>,
}

/// The bucket that was named, else the one that is configured.
fn bucket(context: &Context, named: Option<&StoreAddress>) -> Result<BucketAddress, Failure> {
    let address = match named {
        Some(address) => address.clone(),
        None => context.settings()?.remote()?,
    };
    match address {
        StoreAddress::S3(bucket) => Ok(bucket),
        StoreAddress::File(_) | StoreAddress::Region(_) => Err(no_bucket()),
    }
}

fn no_bucket() -> Failure {
    Failure::new(
        "policies are of buckets, and the store is named as none",
        "give s3://BUCKET/PREFIX",
    )
}
