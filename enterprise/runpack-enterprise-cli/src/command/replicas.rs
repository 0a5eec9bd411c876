//! `replicas`: the copies of a pack in a second bucket, looked at version by version.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runpack_cli::clock::SystemClock;
use runpack_cli::output::{Format, Tone};
use runpack_cli::settings::Settings;
use runpack_cli::storage::{Access, Storage, StoreAddress, parse_store};
use runpack_cli::table::{count, fields, safe};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::time::Clock as _;
use runpack_enterprise::audit::Outcome;
use runpack_enterprise::copies;
use runpack_enterprise::guard::Guard;
use runpack_enterprise::replicas::{AtReplica, Bearing, Pair, ReplicaFinding, ReplicaRules, judge};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::pack::PackOptions;

/// Look at the copies of packs in a second bucket
#[derive(Debug, Args)]
pub(crate) struct ReplicasCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Verify(ReplicasVerify),
}

/// Hold every version of a pack against its copy: there, the same, and locked no less
///
/// What the store says of a replication is a claim: each version is looked for in the replica by its key, as the same
/// version where replication kept its id, else by its bytes. Bytes count by the store's own checksum, else they are
/// read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct ReplicasVerify {
    #[command(flatten)]
    pack: PackOptions,
    /// The second bucket: s3://BUCKET/PREFIX
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    replica: StoreAddress,
    /// The configuration file of the replica's service, where that is another
    ///
    /// All that counts for the replica stands below `runpacks.s3` in it, and in RUNPACK_FROM_ACCESS_KEY and
    /// RUNPACK_FROM_SECRET_KEY or the standard AWS chain.
    #[arg(long, value_name = "FILE")]
    replica_config: Option<PathBuf>,
    /// How long a replication may be under way, in seconds
    #[arg(long, value_name = "N", default_value_t = 86_400)]
    pending_seconds: u64,
}

const EXAMPLES: &str = "\
Examples:
  runpack-enterprise replicas verify s3://evidence --pack-id sha256:... --replica s3://evidence-second
  runpack-enterprise replicas verify s3://evidence --pack-id sha256:... --replica s3://copies --replica-config second.yaml

Exit codes: 0 each copy is there, the same and locked no less, 1 one is not, 2 it could not be told";

impl ReplicasCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Verify(command) => command.run(context),
        }
    }
}

impl ReplicasVerify {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let pack = self.pack.open(context, &desk)?;
        let replica = self.open_replica(context)?;
        let store = replica.s3().cloned().ok_or_else(no_bucket)?;
        if replica.place() == pack.storage.place() {
            return Err(Failure::new(
                "the replica is the bucket that the pack is in",
                "name the second bucket with --replica",
            ));
        }
        let status = pack.status(context)?;
        let (evidence, guard) = (&pack.evidence, Guard::new(store));
        let pairs = context.wait(copies::pairs(evidence, &status.versions, &guard))??;
        let rules = ReplicaRules {
            now: SystemClock.now(),
            pending_seconds_max: self.pending_seconds,
        };
        let seen = Seen {
            findings: judge(&pairs, &rules),
            pairs,
        };
        let verdict = seen.verdict();
        let codes: Vec<_> = seen.findings.iter().map(|found| found.code).collect();
        desk.log(
            "replicas.verify",
            Outcome::Done,
            json!({
                "place": pack.storage.place(),
                "replica": replica.place(),
                "pack_id": status.pack_id,
                "verdict": verdict.word(),
                "versions": seen.pairs.len(),
                "under_way": seen.under_way(),
                "findings": codes,
            }),
        )?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "pack_id": status.pack_id,
                "pack": pack.shown.clone(),
                "replica": replica.shown(),
                "verdict": verdict.word(),
                "under_way": seen.under_way(),
                "versions": seen.pairs.iter().map(json_of).collect::<Vec<_>>(),
                "findings": seen.findings,
            }))?,
            Format::Text => {
                let heading = format!("  {}\n", status.pack_id);
                let text = seen.text(context, &heading, &pack.shown, &replica.shown());
                context.output.print(&text)?;
            }
        }
        Ok(verdict.exit())
    }

    fn open_replica(&self, context: &Context) -> Result<Storage, Failure> {
        let StoreAddress::S3(bucket) = &self.replica else {
            return Err(no_bucket());
        };
        match &self.replica_config {
            Some(file) => {
                let settings = Settings::of_source(context, file)?;
                Storage::open_bucket(context, &settings, bucket, Access::Read)
            }
            None => Storage::open(context, &self.replica, Access::Read),
        }
    }
}

fn no_bucket() -> Failure {
    Failure::new(
        "copies are of versions in a bucket, and the replica is a directory",
        "give --replica s3://BUCKET/PREFIX",
    )
}

/// What was seen of the copies.
struct Seen {
    pairs: Vec<Pair>,
    findings: Vec<ReplicaFinding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Kept,
    NotKept,
    Undecided,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::NotKept => "not-kept",
            Self::Undecided => "undecided",
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Kept => Exit::Success,
            Self::NotKept => Exit::Invalid,
            Self::Undecided => Exit::Trouble,
        }
    }
}

impl Seen {
    fn verdict(&self) -> Verdict {
        let has = |bearing| self.findings.iter().any(|f| f.code.bearing() == bearing);
        if has(Bearing::Fault) {
            Verdict::NotKept
        } else if has(Bearing::Open) || self.under_way() > 0 {
            Verdict::Undecided
        } else {
            Verdict::Kept
        }
    }

    /// How many copies are said to be on their way.
    fn under_way(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.is_under_way()).count()
    }

    fn text(&self, context: &Context, heading: &str, pack: &str, replica: &str) -> String {
        let (tone, word) = match self.verdict() {
            Verdict::Kept => (Tone::Good, "copied, and locked no less"),
            Verdict::NotKept => (Tone::Bad, "the copies are not what they should be"),
            Verdict::Undecided => (Tone::Open, "undecided"),
        };
        let number = u64::try_from(self.pairs.len()).unwrap_or(u64::MAX);
        let mut text = context.output.tone(tone, word);
        text.push_str(heading);
        text.push_str(&fields(&[
            ("pack", safe(pack)),
            ("replica", safe(replica)),
            ("versions", count(number, "version")),
            ("under way", self.under_way().to_string()),
        ]));
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            let (key, what) = (safe(&finding.key), safe(&finding.text));
            text.extend(["  ", finding.code.as_str(), "  ", &key, ": ", &what, "\n"]);
        }
        let more = self.findings.len().saturating_sub(FINDINGS_SHOWN);
        if more > 0 {
            text.extend([
                "  and ",
                &more.to_string(),
                " more; --json names them all\n",
            ]);
        }
        text
    }
}

/// How many findings are shown to people.
const FINDINGS_SHOWN: usize = 20;

fn json_of(pair: &Pair) -> Value {
    json!({
        "key": pair.key.as_str(),
        "version": pair.version,
        "copy": match &pair.replica {
            AtReplica::Present { .. } => "present",
            AtReplica::Missing => "missing",
            AtReplica::NotObserved { .. } => "not-observed",
        },
    })
}
