//! What is known of a pack beforehand: pack id, signature, receipts, identity.

use std::path::{Path, PathBuf};

use clap::Args;
use runpack_core::id::{ExecutionId, Namespace, PackId, RunId, Scenario, SpecHash, StepId, Tenant};
use runpack_core::manifest::Manifest;
use runpack_core::pin::Pins;
use runpack_core::receipt::ReceiptBook;
use runpack_core::sign::{Envelope, VerifyingKey};

use crate::context::Context;
use crate::failure::Failure;
use crate::target::Target;
use crate::{file, place};

/// The largest key file that is read.
pub(crate) const KEY_BYTES_MAX: u64 = 64 << 10;
/// The largest signature file (specification, section 9).
pub(crate) const SIGNATURE_BYTES_MAX: u64 = 1 << 20;
const SIGNATURE_HELP: &str = "give the signature as --signature FILE; `runpack sign` writes one, and `--expect-pack-id` needs none";
/// What stands behind the name of a pack in the name of its signature.
pub(crate) const SIGNATURE_SUFFIX: &str = ".sig.json";

/// What is known beforehand.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is known beforehand")]
pub struct PinOptions {
    /// The pack must have this id: sha256:...
    #[arg(long, value_name = "PACK_ID")]
    expect_pack_id: Option<PackId>,
    /// The pack must be signed by the owner of this public key (SPKI PEM, P-256)
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// Where the signature is [default: TARGET.sig.json beside the target]
    #[arg(long, value_name = "FILE", requires = "key")]
    signature: Option<PathBuf>,
    /// The pack must be of this tenant
    #[arg(long, value_name = "TENANT")]
    expect_tenant: Option<Tenant>,
    /// The pack must be of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    expect_namespace: Option<Namespace>,
    /// The pack must be of this scenario
    #[arg(long, value_name = "SCENARIO")]
    expect_scenario: Option<Scenario>,
    /// The pack must be of this run
    #[arg(long, value_name = "ID")]
    expect_run_id: Option<RunId>,
    /// The pack must be made by this spec: sha256:...
    #[arg(long, value_name = "SPEC_HASH")]
    expect_spec_hash: Option<SpecHash>,
    /// The pack must be of this step
    #[arg(long, value_name = "ID")]
    expect_step_id: Option<StepId>,
    /// The pack must be of this execution
    #[arg(long, value_name = "ULID")]
    expect_execution_id: Option<ExecutionId>,
    /// Do not consult the receipts of this machine
    #[arg(long)]
    no_receipts: bool,
    /// Exit with 0 instead of 3 where everything holds but nothing vouches for the pack
    #[arg(long)]
    allow_unpinned: bool,
}

impl PinOptions {
    /// Whether consistent is good enough for the caller.
    pub const fn allows_unpinned(&self) -> bool {
        self.allow_unpinned
    }

    /// Whether this machine's receipts count.
    pub(crate) const fn uses_receipts(&self) -> bool {
        !self.no_receipts
    }

    /// Only a pack id and receipts.
    pub(crate) fn of_pack_id(expect_pack_id: Option<PackId>, no_receipts: bool) -> Self {
        Self {
            expect_pack_id,
            no_receipts,
            ..Self::default()
        }
    }

    fn identity(&self) -> Vec<(String, String)> {
        let field = |member: &str, value: Option<String>| value.map(|v| (member.to_owned(), v));
        [
            field(
                "tenant",
                self.expect_tenant.as_ref().map(ToString::to_string),
            ),
            field(
                "namespace",
                self.expect_namespace.as_ref().map(ToString::to_string),
            ),
            field(
                "scenario",
                self.expect_scenario.as_ref().map(ToString::to_string),
            ),
            field(
                "run_id",
                self.expect_run_id.as_ref().map(ToString::to_string),
            ),
            field(
                "spec_hash",
                self.expect_spec_hash.as_ref().map(ToString::to_string),
            ),
            field(
                "step_id",
                self.expect_step_id.as_ref().map(ToString::to_string),
            ),
            field(
                "execution_id",
                self.expect_execution_id.as_ref().map(ToString::to_string),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What is known before the manifest has been read; the rest is asked for once it has.
#[derive(Debug)]
pub struct Known {
    pins: Pins,
    book: Option<ReceiptBook>,
}

impl Known {
    /// Reads key, signature and the receipts of the target's place.
    ///
    /// # Errors
    /// One of them cannot be read, or is none: a verifier that was told of a pin does not go on
    /// without it.
    pub fn gather(
        options: &PinOptions,
        target: &Target,
        context: &Context,
    ) -> Result<Self, Failure> {
        let mut pins = Pins::none();
        pins.pack_id = options.expect_pack_id;
        pins.identity = options.identity();
        // What was asked for is what must be there (threat S09).
        let (asked, subject) = target.asked();
        match (pins.pack_id, asked) {
            (Some(expected), Some(asked)) if expected != asked => {
                return Err(Failure::new(
                    format!(
                        "two pack ids are expected at once, expected=`{expected}` asked=`{asked}`"
                    ),
                    "leave one of the two out",
                ));
            }
            (None, asked) => pins.pack_id = asked,
            _ => {}
        }
        pins.placed = target.placed();
        if let Some(subject) = subject {
            let asked = subject.fields().into_iter();
            pins.identity
                .extend(asked.map(|(member, value)| (member.to_owned(), value)));
        }
        if let Some(key) = &options.key {
            pins.signature = Some(signature(key, options.signature.as_deref(), target)?);
        }
        let book = if options.no_receipts {
            None
        } else {
            Some(ReceiptBook::new(context.environment.receipts()?))
        };
        if let Some(book) = &book {
            for place in target.places() {
                if let Some(pack_id) = book.of_place(&place)? {
                    pins.recorded.push(vec![pack_id]);
                }
            }
        }
        Ok(Self { pins, book })
    }

    /// All that is known of the pack with this manifest.
    ///
    /// # Errors
    /// A receipt cannot be read.
    pub fn pins(&self, manifest: &Manifest) -> Result<Pins, Failure> {
        let mut pins = self.pins.clone();
        if let Some(book) = &self.book {
            let recorded = book.of_subject(manifest.subject())?;
            if !recorded.is_empty() {
                pins.recorded.push(recorded);
            }
        }
        Ok(pins)
    }
}

/// Reads a public key that is trusted, which `flag` named.
///
/// # Errors
/// There is none at this path.
pub fn public_key(path: &Path, flag: &str) -> Result<VerifyingKey, Failure> {
    let help = format!(
        "give the signer's public key as {flag}, `openssl pkey -in key.pem -pubout` writes it"
    );
    let pem = file::read_capped(path, KEY_BYTES_MAX, "the public key", &help)?;
    VerifyingKey::from_pem(&String::from_utf8_lossy(&pem)).map_err(|error| {
        Failure::new(
            format!("this is no public key, path=`{}`", path.display()),
            help.clone(),
        )
        .because(&error)
    })
}

fn signature(
    key: &Path,
    signature: Option<&Path>,
    target: &Target,
) -> Result<(VerifyingKey, Result<Envelope, String>), Failure> {
    let key = public_key(key, "--key")?;
    let path = match signature {
        Some(path) => path.to_owned(),
        // Whoever keeps the pack put it there.
        None => beside(target)?,
    };
    if let Err(error) = file::open_regular(&path)
        && signature.is_none()
    {
        let shown = path.display();
        return Err(Failure::new(
            format!("the signature could not be read, path=`{shown}`"),
            SIGNATURE_HELP,
        )
        .because(&error));
    }
    let bytes = file::read_capped(&path, SIGNATURE_BYTES_MAX, "the signature", SIGNATURE_HELP)?;
    let envelope = Envelope::parse(&bytes).map_err(|error| runpack_core::display::chain(&error));
    Ok((key, envelope))
}

/// Where the signature of a target is by itself.
pub(crate) fn beside(target: &Target) -> Result<PathBuf, Failure> {
    let no_name = || {
        let what = match target.stored() {
            Some(_) => "a pack in a bucket has no signature beside it",
            None => "a bundle on standard input has no signature beside it",
        };
        Failure::new(what, "give the signature as --signature FILE")
    };
    let path = target.path().ok_or_else(no_name)?;
    place::beside(&path, SIGNATURE_SUFFIX).map_err(|_| no_name())
}
