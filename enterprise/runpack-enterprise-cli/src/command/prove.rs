//! `prove`: what a bucket really enforces.

use clap::Args;
use runpack_cli::clock::SystemClock;
use runpack_cli::output::{Format, Tone};
use runpack_cli::storage::{Access, Storage, StoreAddress, parse_store};
use runpack_cli::table::{Align, columns, fields, safe};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::digest::Digest;
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_enterprise::audit::Outcome;
use runpack_enterprise::prove::{self, Proof, Result as Found, Verdict};
use serde_json::json;

use crate::desk::Desk;

/// Prove what a bucket enforces of its locks
///
/// Small versions are written under `_runpack/probe/`, locked for a minute, and everything is tried on them that an
/// attacker would: delete, shorten, unlock, weaken, each also with the right to bypass governance, overwrite. Each attempt has a control that must work, for a
/// right that is missing is not a lock. The transcript is kept on this machine and counts for a week.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Prove {
    /// The bucket: s3://BUCKET/PREFIX [default: the one that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// Only locks of this mode: governance or compliance
    #[arg(long, value_name = "MODE")]
    mode: Option<LockMode>,
}

const EXAMPLES: &str = "\
Examples:
  runpack-enterprise prove s3://evidence
  runpack-enterprise prove s3://evidence --mode compliance --json > transcript.json

Exit codes: 0 proven, 1 not enforced, 2 not proven or not done";

/// Tries everything, keeps the transcript, and writes into the audit log what came of it.
pub(crate) fn run(
    context: &Context,
    desk: &Desk,
    store: &S3Store,
    place: &str,
    modes: &[LockMode],
) -> Result<Proof, Failure> {
    let random = ulid::Ulid::generate().random() & u128::from(u64::MAX);
    let nonce = u64::try_from(random).unwrap_or_default();
    let proof = context.wait(prove::prove(store, place, modes, &SystemClock, nonce))??;
    let kept = desk.proofs().keep(&proof)?;
    let verdicts: Vec<_> = modes
        .iter()
        .map(|mode| json!({"mode": mode.to_string(), "verdict": proof.verdict(*mode)}))
        .collect();
    let detail = json!({
        "place": place,
        "verdicts": verdicts,
        "transcript": kept.to_string_lossy(),
        "transcript_sha256": Digest::of(&proof.to_bytes()),
        "left": proof.left,
    });
    desk.log("prove", Outcome::Done, detail)?;
    Ok(proof)
}

impl Prove {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let address = match self.store {
            Some(address) => address,
            None => context.settings()?.remote()?,
        };
        let storage = Storage::open(context, &address, Access::Read)?;
        let Some(store) = storage.s3() else {
            return Err(Failure::new(
                "locks are on versions in a bucket, and the store is a directory",
                "give s3://BUCKET/PREFIX",
            ));
        };
        let modes = match self.mode {
            Some(mode) => vec![mode],
            None => vec![LockMode::Governance, LockMode::Compliance],
        };
        let desk = Desk::of(context)?;
        let proof = run(context, &desk, store, &storage.place(), &modes)?;
        let worst = modes.iter().map(|mode| proof.verdict(*mode)).max();
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "store": storage.shown(),
                "verdicts": modes.iter().map(|mode| (mode.to_string(), json!(proof.verdict(*mode)))).collect::<serde_json::Map<_, _>>(),
                "bypasses_governance": proof.bypasses_governance(),
                "transcript": proof,
            }))?,
            Format::Text => context.output.print(&text(context, &storage, &proof, &modes))?,
        }
        Ok(match worst {
            Some(Verdict::Proven) => Exit::Success,
            Some(Verdict::NotEnforced) => Exit::Invalid,
            Some(Verdict::NotProven) | None => Exit::Trouble,
        })
    }
}

fn text(context: &Context, storage: &Storage, proof: &Proof, modes: &[LockMode]) -> String {
    let mut lines = vec![("store", storage.shown())];
    for mode in modes {
        let (tone, word) = match proof.verdict(*mode) {
            Verdict::Proven => (Tone::Good, "enforced, proven"),
            Verdict::NotEnforced => (Tone::Bad, "NOT ENFORCED"),
            Verdict::NotProven => (Tone::Open, "not proven"),
        };
        let name = match mode {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        };
        lines.push((name, context.output.tone(tone, word)));
    }
    if proof.bypasses_governance() {
        let note = "these credentials can remove what governance locks".to_owned();
        lines.push(("bypass", note));
    }
    lines.push(("at", proof.proved_at.to_string()));
    match proof.left.as_slice() {
        [] => {}
        [one] => lines.push(("left", safe(one))),
        several => lines.push((
            "left",
            format!(
                "{} canaries, {}, and the others; `gc` removes them when their locks have ended",
                several.len(),
                safe(several.first().map_or("", String::as_str))
            ),
        )),
    }
    let mut rows = vec![
        ["attempt", "on", "answer", "control", "afterwards", "result"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for tried in &proof.attempts {
        let mode = tried.mode.map(|mode| mode.to_string());
        rows.push(vec![
            tried.attempt.to_string(),
            mode.unwrap_or_else(|| "hold".to_owned()),
            safe(&tried.answer),
            safe(&tried.control_answer),
            safe(&tried.after),
            match tried.result {
                Found::Enforced => "enforced",
                Found::NotEnforced => "NOT ENFORCED",
                Found::NotProven => "not proven",
                Found::NothingShown => "shows nothing",
            }
            .to_owned(),
        ]);
    }
    format!("{}\n{}", fields(&lines), columns(&[Align::Left; 6], &rows))
}
