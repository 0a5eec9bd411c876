//! `attest`: saying under a signature what is seen of a pack's storage, and holding it against the store later.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runpack_cli::attestation::{AttestationOptions, json_of, text_of};
use runpack_cli::clock::SystemClock;
use runpack_cli::file::read_capped;
use runpack_cli::output::{Format, Tone};
use runpack_cli::table::{count, fields, safe};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::attestation::{self, Attestation, Expected, Observer, Predicate, drift, sign};
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::sign::bundle::SigstoreBundle;
use runpack_core::store::Housekeeping as _;
use runpack_core::store::s3::SKEW_SECONDS_MAX;
use runpack_core::time::Clock as _;
use runpack_enterprise::audit::Outcome;
use runpack_enterprise::batch;
use runpack_enterprise::evidence::{Pinned, Role};
use runpack_enterprise::guard::Guard;
use runpack_enterprise::ledger::{Ledger, Ledgers};
use runpack_enterprise::observe::Seen;
use runpack_enterprise::status::Status;
use runpack_enterprise::timestamp::{TimestampRequest, TimestampRoots, VerifiedTimestamp, verify};
use serde_json::json;

use crate::desk::Desk;
use crate::pack::{BucketPack, PackOptions};
use crate::{keys, options};

const STAMP_BYTES_MAX: u64 = 1 << 20;

/// Attest what is seen of a pack's storage
///
/// An attestation says of every version of a pack what it is, until when it is locked, and how each of it is known. It is
/// signed, and anybody checks it offline: `runpack verify-attestation`, cosign, or by hand (Docs/auditors.md).
#[derive(Debug, Args)]
pub(crate) struct AttestCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(Create),
    Verify(Verify),
    Drift(DriftCommand),
    Stamp(Stamp),
}

/// Look at every version of a pack now, and sign what is seen
///
/// Every byte is read and hashed again. Whether the bucket enforces locks is taken from the last transcript of `prove`, if
/// it counts still; which matters hold the pack from the ledger of holds.
#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    pack: PackOptions,
    /// Where to write it, a file that is not there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Take the store's word for the bytes, by its own checksums
    #[arg(long)]
    without_reading: bool,
}

/// Verify an attestation, offline
///
/// Exit codes: 0 it counts, 1 it does not, 2 it could not be read
#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    attestation: AttestationOptions,
    #[command(flatten)]
    stamps: StampOptions,
}

/// Who may tell the time.
#[derive(Debug, Clone, Args)]
pub(super) struct StampOptions {
    /// Root certificates (PEM) of time stamping authorities: a time stamp under one of them must be there
    #[arg(long, value_name = "FILE")]
    tsa_roots: Option<PathBuf>,
}

/// Hold an attestation against the store as it is now
///
/// Exit codes: 0 nothing is weaker, 1 something is, 2 it could not be told
#[derive(Debug, Args)]
struct DriftCommand {
    #[command(flatten)]
    pack: PackOptions,
    /// The attestation
    #[arg(long, value_name = "FILE")]
    attestation: PathBuf,
}

/// Ask a time stamping authority (RFC 3161) when the signature was there, by files
///
/// Without --response a request is written to --request, to be sent as application/timestamp-query; with it the answer is
/// attached.
#[derive(Debug, Args)]
struct Stamp {
    /// The attestation
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to write the request
    #[arg(long, value_name = "OUT.tsq", required_unless_present = "response")]
    request: Option<PathBuf>,
    /// The authority's answer
    #[arg(
        long,
        value_name = "IN.tsr",
        conflicts_with = "request",
        requires = "out"
    )]
    response: Option<PathBuf>,
    /// Where to write the attestation with the time stamp, a file that is not there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl AttestCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Create(command) => command.run(context),
            What::Verify(command) => command.run(context),
            What::Drift(command) => command.run(context),
            What::Stamp(command) => command.run(context),
        }
    }
}

impl Create {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        runpack_cli::file::check_free(&self.out)?;
        let desk = Desk::of(context)?;
        let signer = keys::signer(context)?;
        let pack = self.pack.open(context, &desk)?;
        let mut status = pack.status(context)?;
        let is_large = |pinned: &Pinned| {
            pinned.part.role == Role::Bundle
                && matches!(pinned.declared.content, Content::Chunks(_))
        };
        if status.versions.iter().any(is_large) {
            return Err(Failure::new(
                "a bundle of more than 8 MiB has no SHA-256 of the whole that was measured, which an attestation of one is about",
                "attest the pack as files: `unbundle` it, and `push` the directory",
            ));
        }
        if !self.without_reading {
            status.versions = read_again(context, &pack.guard(), status.versions)?;
        }
        let predicate = predicate(context, &desk, &pack, &status)?;
        let name = pack.shown.clone();
        let bundle = sign(Expected::Manifest(&pack.manifest), &name, &predicate, &*signer)
            .map_err(|error| {
                Failure::new(
                    "what was seen cannot be attested",
                    "`lock status` shows what is wrong; `lock set` locks the manifest for as long as its artifacts",
                )
                .because(&error)
                .with_exit(Exit::Invalid)
            })?;
        let bytes = bundle.to_bytes();
        crate::write_new(&self.out, &bytes)?;
        let detail = json!({
            "place": pack.storage.place(),
            "pack_id": status.pack_id,
            "attestation_sha256": Digest::of(&bytes),
            "key_id": signer.public_key().key_id(),
            "retained_until": predicate.retained_until,
            "findings": predicate.findings.len(),
        });
        desk.log("attest.create", Outcome::Done, detail)?;
        let expected = Expected::Manifest(&pack.manifest);
        let written = attestation::verify(&bytes, &signer.public_key(), expected);
        let written = written.map_err(|error| bug(&error))?;
        let out = self.out.to_string_lossy();
        match context.output.format() {
            Format::Json => {
                let mut result = json_of(&written);
                if let Some(members) = result.as_object_mut() {
                    members.insert("attestation".to_owned(), json!(out));
                }
                context.output.print_json(&result)?;
            }
            Format::Text => {
                let text = text_of(context, &written, "none: `attest stamp` asks for one");
                let file = fields(&[("written to", safe(&out))]);
                context.output.print(&format!("{text}{file}"))?;
            }
        }
        Ok(Exit::Success)
    }
}

fn bug(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        "the attestation that was written does not verify, which is a bug",
        "report it",
    )
    .because(error)
}

/// Reads every byte again.
fn read_again(
    context: &Context,
    guard: &Guard,
    versions: Vec<Pinned>,
) -> Result<Vec<Pinned>, Failure> {
    let read = batch::each(versions, |pinned| pinned.read_again(guard));
    Ok(context.wait(read)??)
}

/// Everything that is seen now, in the words of an attestation.
fn predicate(
    context: &Context,
    desk: &Desk,
    pack: &BucketPack,
    status: &Status,
) -> Result<Predicate, Failure> {
    let place = pack.storage.place();
    let proof = desk.proofs().fresh(&place, context.now.time)?;
    let ledger = ledger(context, desk, pack, &place)?;
    let store_time = context.wait(pack.store.now())??;
    let seen = Seen {
        status,
        proof: proof.as_ref(),
        ledger: ledger.as_ref(),
        observer: Observer {
            name: context.producer.name.to_string(),
            operator: Some(desk.by().to_owned()),
            version: context.producer.version.to_string(),
        },
        observed_at: SystemClock.now(),
        store_time,
        nonce: ulid::Ulid::generate().to_bytes(),
    };
    Ok(context.wait(seen.predicate(&pack.store))??)
}

/// The ledger of holds, where a key is named whose entries count.
fn ledger(
    context: &Context,
    desk: &Desk,
    pack: &BucketPack,
    place: &str,
) -> Result<Option<Ledger>, Failure> {
    let is_keyed = !options::trusted_keys(&context.given).is_empty()
        || options::signing_key(&context.given).is_some();
    if !is_keyed {
        return Ok(None);
    }
    let (guard, trusted, book) = (pack.guard(), keys::trusted(context)?, desk.heads());
    let ledgers = Ledgers {
        guard: &guard,
        place,
        trusted: &trusted,
        book: &book,
        lock: None,
    };
    let read = context.wait(ledgers.read())?;
    read.map(Some)
        .map_err(|error| super::hold::of_hold(&error.into()))
}

impl Verify {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let attestation = self.attestation.verify(&keys::trusted(context)?)?;
        let stamp = self.stamps.verify(&attestation)?;
        match context.output.format() {
            Format::Json => {
                let mut result = json_of(&attestation);
                if let Some(members) = result.as_object_mut() {
                    let at = stamp.map(|stamp| stamp.time);
                    members.insert("time_stamped_at".to_owned(), json!(at));
                }
                context.output.print_json(&result)?;
            }
            Format::Text => {
                let stamped = match (stamp, attestation.timestamps().len()) {
                    (Some(stamp), _) => format!("the signature was there at {}", stamp.time),
                    (None, 0) => "none".to_owned(),
                    (None, stamps) => format!("{stamps}, not checked: give --tsa-roots"),
                };
                context
                    .output
                    .print(&text_of(context, &attestation, &stamped))?;
            }
        }
        Ok(Exit::Success)
    }
}

impl StampOptions {
    /// The earliest time stamp under a trusted root, where roots are named.
    ///
    /// # Errors
    /// Roots are named, and no time stamp leads to one of them.
    pub(super) fn verify(
        &self,
        attestation: &Attestation,
    ) -> Result<Option<VerifiedTimestamp>, Failure> {
        let Some(path) = &self.tsa_roots else {
            return Ok(None);
        };
        let help = "give root certificates of time stamping authorities in PEM";
        let pem = read_capped(path, STAMP_BYTES_MAX, "the root certificates", help)?;
        let roots = TimestampRoots::from_pem(&String::from_utf8_lossy(&pem))
            .map_err(|error| Failure::new(error.to_string(), help))?;
        let mut why = Vec::new();
        let mut earliest: Option<VerifiedTimestamp> = None;
        let observed = attestation.predicate().observed_at.unix_seconds();
        for response in attestation.timestamps() {
            match verify(response, attestation.signature(), &roots) {
                // What was signed before it was seen was not seen (threat B22).
                Ok(stamp)
                    if stamp.time.unix_seconds().saturating_add(SKEW_SECONDS_MAX) < observed =>
                {
                    why.push(format!("{} is before the observation", stamp.time));
                }
                Ok(stamp) if earliest.is_none_or(|known| stamp.time < known.time) => {
                    earliest = Some(stamp);
                }
                Ok(_) => {}
                Err(error) => why.push(runpack_core::display::chain(&error)),
            }
        }
        match earliest {
            Some(stamp) => Ok(Some(stamp)),
            None => Err(Failure::new(
                "no time stamp of the attestation leads to a trusted authority",
                "attach one with `attest stamp`, or name other roots",
            )
            .with_details(why)
            .with_exit(Exit::Invalid)),
        }
    }
}

impl DriftCommand {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let trusted = keys::trusted(context)?;
        let pack = self.pack.open(context, &desk)?;
        let attested =
            AttestationOptions::of_pack(self.attestation.clone(), pack.manifest.pack_id())
                .verify(&trusted)?;
        let status = pack.status_of(context, attested.predicate())?;
        let now = predicate(context, &desk, &pack, &status)?;
        let drifts = drift(attested.predicate(), &now);
        let kinds: Vec<_> = drifts.iter().map(|drift| drift.kind.code()).collect();
        let detail =
            json!({"place": pack.storage.place(), "pack_id": status.pack_id, "drift": kinds});
        desk.log("attest.drift", Outcome::Done, detail)?;
        match context.output.format() {
            Format::Json => {
                let list: Vec<_> = drifts
                    .iter()
                    .map(|drift| json!({"kind": drift.kind.code(), "of": drift.of, "attested": drift.attested, "now": drift.now}))
                    .collect();
                context.output.print_json(&json!({
                    "pack_id": status.pack_id,
                    "attested_at": attested.predicate().observed_at,
                    "drift": list,
                }))?;
            }
            Format::Text => {
                let number = u64::try_from(drifts.len()).unwrap_or(u64::MAX);
                let (tone, word) = if drifts.is_empty() {
                    (Tone::Good, "nothing is weaker than was attested".to_owned())
                } else {
                    (
                        Tone::Bad,
                        format!(
                            "{} since {}",
                            count(number, "drift"),
                            attested.predicate().observed_at
                        ),
                    )
                };
                let mut text =
                    format!("{}  {}\n", context.output.tone(tone, &word), status.pack_id);
                for drift in &drifts {
                    let (of, then, now) =
                        (safe(&drift.of), safe(&drift.attested), safe(&drift.now));
                    text.extend([
                        "  ",
                        drift.kind.code(),
                        "  ",
                        &of,
                        ": ",
                        &then,
                        " -> ",
                        &now,
                        "\n",
                    ]);
                }
                context.output.print(&text)?;
            }
        }
        Ok(if drifts.is_empty() {
            Exit::Success
        } else {
            Exit::Invalid
        })
    }
}

impl Stamp {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let bytes_max = attestation::ATTESTATION_BYTES_MAX;
        let help = "give the file that `attest create` wrote";
        let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let bytes = read_capped(&self.file, bound, "the attestation", help)?;
        let mut bundle = SigstoreBundle::parse(&bytes, bytes_max)
            .map_err(|error| Failure::new("this is no attestation", help).because(&error))?;
        let request = TimestampRequest::new(&bundle, nonce(&bundle));
        if let Some(path) = &self.request {
            crate::write_new(path, &request.to_der())?;
            return done(
                context,
                "the request is written; send it and attach the answer with --response",
                path,
            );
        }
        let (Some(response), Some(out)) = (&self.response, &self.out) else {
            return Err(Failure::new(
                "nothing is asked for",
                "give --request, or --response with --out",
            ));
        };
        let answer = read_capped(
            response,
            STAMP_BYTES_MAX,
            "the answer",
            "give the authority's answer",
        )?;
        request.attach(&mut bundle, &answer).map_err(|error| {
            Failure::new(
                "the time stamp is not attached",
                "give the answer to the request of this very attestation",
            )
            .because(&error)
            .with_exit(Exit::Invalid)
        })?;
        crate::write_new(out, &bundle.to_bytes())?;
        done(context, "the time stamp is attached", out)
    }
}

/// Follows from the signature, which nobody knew before it was made: so the answer is told apart without a file more.
fn nonce(bundle: &SigstoreBundle) -> [u8; 16] {
    let mut message = b"runpack time stamp\0".to_vec();
    message.extend_from_slice(&bundle.signature());
    let digest = Digest::of(&message);
    let mut nonce = [0; 16];
    for (to, from) in nonce.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    nonce
}

fn done(context: &Context, what: &str, path: &std::path::Path) -> Result<Exit, Failure> {
    let path = path.to_string_lossy();
    match context.output.format() {
        Format::Json => context
            .output
            .print_json(&json!({"done": what, "file": path}))?,
        Format::Text => context
            .output
            .print(&format!("{what}: {}\n", safe(&path)))?,
    }
    Ok(Exit::Success)
}
