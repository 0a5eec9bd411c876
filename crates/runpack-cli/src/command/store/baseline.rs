//! `runpack store baseline`: what a bucket should be set to before evidence lies in it.

use clap::{Args, Subcommand};
use runpack_core::store::s3::{
    AccessLog, Baseline, BaselineFinding, BucketName, Encryption, S3Store, Setting, Standing,
    TlsVersion,
};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Tone};
use crate::storage::{Access, Storage, StoreAddress, bucket_named, parse_store};
use crate::table::{Align, columns, safe};
use crate::terraform;

/// Look at what the bucket is set to: encryption, TLS, versions, public access, ownership, the log of access
///
/// Nothing that is there is ever weakened or replaced. Statements of a bucket policy are added beside those of others.
#[derive(Debug, Args)]
pub(super) struct BaselineCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Tell what is there, what should be, and what differs
    #[command(after_help = EXIT_CODES)]
    Check(Options),
    /// Set what is missing; without --yes only show it
    #[command(after_help = EXIT_CODES)]
    Apply {
        #[command(flatten)]
        options: Options,
        /// Set it
        #[arg(long)]
        yes: bool,
    },
    /// Print it as a Terraform module, without asking anybody
    Terraform(Options),
}

const EXIT_CODES: &str = "\
Exit codes: 0 all is as it should be, 1 something differs, 2 something is not known or not supported here";

#[derive(Debug, Args)]
struct Options {
    /// The store: s3://BUCKET/PREFIX or region:NAME [default: the bucket that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// The bucket that access is logged to
    #[arg(long, value_name = "BUCKET")]
    log_bucket: Option<BucketName>,
    /// What the objects of that log begin with
    #[arg(long, value_name = "PREFIX", default_value = "access/")]
    log_prefix: String,
    /// The oldest TLS that is let in: 1.2 or 1.3; only Amazon S3 knows the condition
    #[arg(long, value_name = "VERSION", default_value = "1.2")]
    min_tls: TlsVersion,
}

impl BaselineCommand {
    pub(super) fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Check(options) => options.check(context),
            What::Apply { options, yes } => options.apply(context, yes),
            What::Terraform(options) => options.terraform(context),
        }
    }
}

impl Options {
    fn address(&self, context: &Context) -> Result<StoreAddress, Failure> {
        match &self.store {
            Some(address) => Ok(address.clone()),
            None => context.settings()?.remote(),
        }
    }

    fn wanted(&self, encryption: &Encryption) -> Baseline {
        Baseline {
            encryption: encryption.clone(),
            tls_min: self.min_tls,
            access_log: self.log_bucket.clone().map(|bucket| AccessLog {
                bucket,
                prefix: self.log_prefix.clone(),
            }),
        }
    }

    fn check(&self, context: &Context) -> Result<Exit, Failure> {
        let storage = Storage::open(context, &self.address(context)?, Access::Read)?;
        let store = bucket(&storage)?;
        let wanted = self.wanted(&store.settings().encryption);
        let findings = context.wait(store.baseline(&wanted))??;
        print(context, &storage, &findings, None)?;
        Ok(exit(&findings))
    }

    fn apply(&self, context: &Context, is_meant: bool) -> Result<Exit, Failure> {
        let storage = Storage::open(context, &self.address(context)?, Access::Read)?;
        let store = bucket(&storage)?;
        let wanted = self.wanted(&store.settings().encryption);
        let mut findings = context.wait(store.baseline(&wanted))??;
        let is_missing = |finding: &&BaselineFinding| finding.standing == Standing::Missing;
        let missing: Vec<Setting> = findings
            .iter()
            .filter(is_missing)
            .map(|f| f.setting)
            .collect();
        if !is_meant {
            let done = match missing.len() {
                0 => "nothing to set",
                _ => "nothing was set: add --yes to set what is missing",
            };
            print(context, &storage, &findings, Some(done))?;
            return Ok(exit(&findings));
        }
        for setting in missing {
            let mended = context.wait(store.mend(setting, &wanted))?;
            let mended = mended.map_err(|error| {
                let failure = Failure::from(error);
                Failure::new(
                    format!("a setting could not be made, setting=`{setting}`: {}", failure.line()),
                    "what comes before it in `runpack store baseline check` is set; correct this one, then apply again",
                )
            })?;
            for finding in &mut findings {
                if finding.setting == setting {
                    finding.clone_from(&mended);
                }
            }
        }
        let done = "what could be set is set: it was looked at again";
        print(context, &storage, &findings, Some(done))?;
        Ok(exit(&findings))
    }

    fn terraform(&self, context: &Context) -> Result<Exit, Failure> {
        let address = self.address(context)?;
        let (settings, named) =
            bucket_named(context, &address)?.ok_or_else(|| no_bucket(&address.to_string()))?;
        let wanted = self.wanted(&settings.sse.value);
        let text = terraform::baseline(&named.bucket, &wanted);
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({ "terraform": text }))?,
            Format::Text => context.output.print(&text)?,
        }
        Ok(Exit::Success)
    }
}

fn bucket(storage: &Storage) -> Result<&S3Store, Failure> {
    storage.s3().ok_or_else(|| no_bucket(&storage.shown()))
}

fn no_bucket(shown: &str) -> Failure {
    Failure::new(
        format!("only buckets have such settings, store=`{shown}`"),
        "give s3://BUCKET/PREFIX",
    )
}

/// What is not known does not count as good, and what differs counts before that.
fn exit(findings: &[BaselineFinding]) -> Exit {
    let has = |wanted: fn(&Standing) -> bool| findings.iter().any(|f| wanted(&f.standing));
    if has(|standing| matches!(standing, Standing::Missing | Standing::ByHand { .. })) {
        Exit::Invalid
    } else if has(|standing| *standing != Standing::Good) {
        Exit::Trouble
    } else {
        Exit::Success
    }
}

fn print(
    context: &Context,
    storage: &Storage,
    findings: &[BaselineFinding],
    done: Option<&str>,
) -> Result<(), Failure> {
    let output = &context.output;
    if output.format() == Format::Json {
        return output.print_json(&json!({
            "store": storage.shown(),
            "findings": findings,
            "done": done,
        }));
    }
    let mut rows = vec![
        ["", "SETTING", "WANTED", "FOUND"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut more = String::new();
    for finding in findings {
        let (word, todo) = match &finding.standing {
            Standing::Good => ("good", None),
            Standing::Missing => ("missing", None),
            Standing::ByHand { todo } => ("differs", Some(todo)),
            Standing::Unsupported => ("unsupported", None),
            Standing::Unknown { why } => ("unknown", Some(why)),
        };
        if let Some(todo) = todo {
            add!(more, "  {}: {}\n", finding.setting, safe(todo));
        }
        rows.push(vec![
            word.to_owned(),
            finding.setting.to_string(),
            finding.wanted.clone(),
            safe(&finding.found),
        ]);
    }
    let mut text = columns(&[Align::Left; 4], &rows);
    if !more.is_empty() {
        add!(
            text,
            "\n{}\n{more}",
            output.tone(Tone::Open, "to do by hand, or to find out")
        );
    }
    if let Some(done) = done {
        add!(text, "\n{done}\n");
    }
    output.print(&text)
}
