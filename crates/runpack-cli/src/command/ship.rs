//! `runpack ship`: a tree of files, such as a share that benches write to, goes to a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use runpack_core::display::chain;
use runpack_core::id::{Organization, Project};
use runpack_core::manifest::Text;
use runpack_server::execution::Owner;
use runpack_server::ship::{
    Benches, Kept, Layout, Markers, OnFailure, Problem, Round, Settings, Ship as Shipper, To,
};
use runpack_server::staging::Staging;
use serde_json::{Value, json};

use super::Execute;
use crate::clock::SystemClock;
use crate::context::Context;
use crate::duration::{DurationArgument, parse_duration};
use crate::failure::{Exit, Failure};
use crate::kinds;
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{count, safe};

/// Bring a tree of files to a store: executions of benches, or records
///
/// `executions` is a tree BENCH/EXECUTION/raw/..., as benches write it to a share; each execution becomes a pack. `records`
/// is a tree ORGANIZATION/PROJECT/SERVICE/RUN/payload.json, each file as a client would send it. What is still written to
/// is left for the next round; what was brought is read back from the store, verified and marked, and with --clean-after
/// removed when it is old and nothing of it has changed. Deleting never propagates to the store.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ship {
    /// The tree
    #[arg(value_name = "TREE")]
    tree: PathBuf,
    /// How it is laid out
    #[arg(long, value_enum, value_name = "LAYOUT")]
    layout: LayoutArgument,
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    to: Option<StoreAddress>,
    /// Whose executions these are
    #[arg(
        long,
        value_name = "ORGANIZATION",
        required_if_eq("layout", "executions")
    )]
    organization: Option<Organization>,
    /// In which project
    #[arg(long, value_name = "PROJECT", required_if_eq("layout", "executions"))]
    project: Option<Project>,
    /// What ran them, where the tree does not say
    #[arg(long, value_name = "TYPE", default_value = "bench")]
    runner_type: Text<128>,
    /// For how long nothing may have changed before something is brought [default: 5m for executions, 5s for records]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    settle: Option<DurationArgument>,
    /// Remove what was brought so long ago and still is as it was
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    clean_after: Option<DurationArgument>,
    /// Where it is noted what was brought, for a tree that cannot be written to [default: beside it in the tree]
    #[arg(long, value_name = "DIR")]
    markers: Option<PathBuf>,
    /// End an execution as artifact_error for good when its files cannot be brought, whatever is tried
    #[arg(long)]
    mark_failed: bool,
    /// Go on until SIGTERM
    #[arg(long)]
    watch: bool,
    /// How long to wait between two rounds
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration, requires = "watch")]
    every: DurationArgument,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutArgument {
    /// BENCH/EXECUTION/raw/...
    Executions,
    /// ORGANIZATION/PROJECT/SERVICE/RUN/payload.json
    Records,
}

const EXAMPLES: &str = "\
Examples:
  runpack ship /mnt/benches --layout executions --organization acme --project hil --to s3://evidence/bench
  runpack ship /mnt/records --layout records --to s3://evidence/ci --watch --clean-after 30d

Exit codes: 0 brought or waiting, 2 something could not be brought";

impl Execute for Ship {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        context.use_threads()?;
        let address = match &self.to {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open(context, &address, Access::Write)?;
        let layout = self.layout()?;
        let mut settings = Settings::of(&layout);
        settings.kinds = kinds::of_file_name;
        if let Some(settle) = self.settle {
            settings.settle = settle.duration();
        }
        settings.clean_after = self.clean_after.map(DurationArgument::duration);
        if let Some(markers) = &self.markers {
            settings.markers = Markers::In(markers.clone());
        }
        let directory = tempfile::tempdir().map_err(|error| not_shipped(&self.tree, &error))?;
        let staging =
            Staging::open(directory.path()).map_err(|error| not_shipped(&self.tree, &error))?;
        let to = To {
            store: storage.store(),
            keeper: Some(storage.housekeeping()),
            staging,
            clock: Arc::new(SystemClock),
            producer: context.producer.clone(),
        };
        let shipper = Shipper::open(&self.tree, layout, to, settings)
            .map_err(|error| not_shipped(&self.tree, &error))?;
        if self.watch {
            let mut unwritten = None;
            let tell = |round: Round| unwritten = print(context, &round).err();
            context.wait(shipper.run(self.every.duration(), stopped(), tell))?;
            return unwritten.map_or(Ok(Exit::Success), Err);
        }
        let round = context.wait(shipper.round())?;
        print(context, &round)?;
        Ok(if round.failed.is_empty() && round.kept.is_empty() {
            Exit::Success
        } else {
            Exit::Trouble
        })
    }
}

impl Ship {
    fn layout(&self) -> Result<Layout, Failure> {
        match (self.layout, &self.organization, &self.project) {
            (LayoutArgument::Records, None, None) => Ok(Layout::Records),
            (LayoutArgument::Records, ..) => Err(Failure::new(
                "records say themselves whose they are",
                "leave out --organization and --project",
            )),
            (LayoutArgument::Executions, Some(organization), Some(project)) => {
                let owner = Owner {
                    organization: organization.clone(),
                    project: project.clone(),
                };
                let mut benches = Benches::new(owner, self.runner_type.clone());
                if self.mark_failed {
                    benches.on_failure = OnFailure::Mark;
                }
                Ok(Layout::Executions(benches))
            }
            (LayoutArgument::Executions, ..) => Err(Failure::new(
                "the tree does not say whose executions these are",
                "give --organization and --project",
            )),
        }
    }
}

/// Until somebody ends the process.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    let Ok(mut interrupt) = signal(SignalKind::interrupt()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn not_shipped(tree: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        format!("nothing was shipped, tree=`{}`", tree.display()),
        "correct what is named and run it again: what was brought is not sent again",
    )
    .because(error)
}

fn print(context: &Context, round: &Round) -> Result<(), Failure> {
    match context.output.format() {
        Format::Json => context.output.print_json(&to_json(round)),
        Format::Text => context.output.print(&text(round)),
    }
}

fn kept(kept: &Kept) -> (&'static str, String) {
    match kept {
        Kept::PackId(pack_id) => ("pack_id", pack_id.to_string()),
        Kept::BodySha256(digest) => ("body_sha256", digest.to_string()),
    }
}

fn to_json(round: &Round) -> Value {
    let shown = |path: &Path| path.display().to_string();
    let shipped = round.shipped.iter().map(|one| {
        let (name, value) = kept(&one.kept);
        json!({ "path": shown(&one.path), name: value, "key": one.key })
    });
    let problems = |list: &[(PathBuf, Problem)]| -> Vec<Value> {
        let problem = |(path, problem): &(PathBuf, Problem)| json!({ "path": shown(path), "problem": chain(problem) });
        list.iter().map(problem).collect()
    };
    let paths = |list: &[PathBuf]| -> Vec<String> { list.iter().map(|path| shown(path)).collect() };
    json!({
        "shipped": shipped.collect::<Vec<Value>>(),
        "already": round.already,
        "waiting": paths(&round.waiting),
        "failed": problems(&round.failed),
        "cleaned": paths(&round.cleaned),
        "kept": problems(&round.kept),
    })
}

fn text(round: &Round) -> String {
    let mut text = String::new();
    let shown = |path: &Path| safe(&path.display().to_string());
    for one in &round.shipped {
        let (_, value) = kept(&one.kept);
        add!(text, "shipped  {}  {value}\n", shown(&one.path));
    }
    for (path, problem) in &round.failed {
        add!(
            text,
            "failed   {}  {}\n",
            shown(path),
            safe(&chain(problem))
        );
    }
    for path in &round.cleaned {
        add!(text, "cleaned  {}\n", shown(path));
    }
    for (path, problem) in &round.kept {
        add!(
            text,
            "kept     {}  {}\n",
            shown(path),
            safe(&chain(problem))
        );
    }
    let number = |list: usize| u64::try_from(list).unwrap_or(u64::MAX);
    add!(
        text,
        "{} shipped, {} before, {} waiting, {} failed, {} cleaned\n",
        count(number(round.shipped.len()), "item"),
        round.already,
        round.waiting.len(),
        round.failed.len(),
        round.cleaned.len()
    );
    text
}
