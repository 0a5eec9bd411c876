//! `runpack sign`: a detached signature over a pack id.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use runpack_core::id::PackId;
use runpack_core::sign::{Signer as _, SigningKey, sign};
use runpack_core::verify::{Level, Verdict};
use serde_json::json;

use super::Execute;
use crate::check;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::pins::{self, KEY_BYTES_MAX, Known, PinOptions};
use crate::table::{fields, safe};
use crate::target::{Locate, Target};
use crate::unsound;

/// Sign a pack, after verifying that it is one
///
/// The signature (DSSE, ECDSA P-256, over the pack id) is written to a file beside the pack, TARGET.sig.json, and
/// counts for the pack directory and for its bundle alike. A pack that does not verify, or that contradicts a receipt
/// of this machine, is not signed.
#[derive(Debug, Args)]
#[command(after_help = "\
Make a key pair once, and give the public key to whoever verifies:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
  openssl pkey -in key.pem -pubout -out key.pub.pem

Examples:
  runpack sign run-42.tar.gz --key key.pem
  runpack verify run-42.tar.gz --key key.pub.pem")]
pub(crate) struct Sign {
    /// The pack: a directory, or a bundle
    #[arg(value_name = "TARGET")]
    target: OsString,
    /// The private key (PKCS#8 PEM, P-256, not encrypted)
    #[arg(long, value_name = "PRIVATE.pem")]
    key: PathBuf,
    /// Where to write the signature; what is there is not replaced [default: TARGET.sig.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign only the pack that has this id
    #[arg(long, value_name = "PACK_ID")]
    expect_pack_id: Option<PackId>,
    /// Do not consult the receipts of this machine
    #[arg(long)]
    no_receipts: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Execute for Sign {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let target = Target::locate(&self.target, &Locate::default(), context)?;
        let out = match &self.out {
            Some(out) => out.clone(),
            None => pins::beside(&target).map_err(|_| {
                Failure::new(
                    "what is on standard input or in a bucket has nothing beside it",
                    "say where the signature goes with --out FILE",
                )
            })?,
        };
        file::check_free(&out)?;
        target.check_outside("signature", &out)?;
        let key = read_key(&self.key)?;
        let options = PinOptions::of_pack_id(self.expect_pack_id, self.no_receipts);
        let known = Known::gather(&options, &target, context)?;
        let report = check::verify(context, &target, &known, Level::Full, &limits)?;
        let (Verdict::Valid | Verdict::Consistent, Some(pack_id)) =
            (report.verdict, report.pack_id())
        else {
            return Err(unsound::not_done(&report, "signed"));
        };
        let failed = |error: &dyn std::error::Error| {
            Failure::new("the pack could not be signed", "try again with another key")
                .because(error)
        };
        let name = self.name(&target);
        let envelope = sign(pack_id, &name, &key).map_err(|error| failed(&error))?;
        file::create(&out, |file| {
            file.write_all(&envelope.to_bytes())
                .map_err(|error| failed(&error))
        })?;
        let out = std::fs::canonicalize(&out).unwrap_or(out);
        let key_id = key.public_key().key_id();
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "pack_id": pack_id,
                "signature": out.to_string_lossy(),
                "key_id": key_id,
            }))?,
            Format::Text => context.output.print(&format!(
                "signed\n\n{}\nnext: runpack verify {} --key PUBLIC.pem\n",
                fields(&[
                    ("pack id", pack_id.to_string()),
                    ("signature", safe(&out.to_string_lossy())),
                    ("key id", key_id.to_string()),
                ]),
                safe(&crate::report::html::shell_word(Path::new(&self.target)))
            ))?,
        }
        Ok(Exit::Success)
    }
}

impl Sign {
    /// What people call the pack: the name of its file or directory.
    fn name(&self, target: &Target) -> String {
        let path = target.path().unwrap_or_else(|| PathBuf::from(&self.target));
        path.file_name()
            .unwrap_or(&self.target)
            .to_string_lossy()
            .into_owned()
    }
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let help =
        "give your private key as --key PRIVATE.pem; `runpack sign --help` shows how to make one";
    let pem = file::read_capped(path, KEY_BYTES_MAX, "the private key", help)?;
    let wrong = |error: &dyn std::error::Error| {
        Failure::new(
            format!("this is no private key, path=`{}`", path.display()),
            help,
        )
        .because(error)
    };
    let pem = std::str::from_utf8(&pem).map_err(|error| wrong(&error))?;
    SigningKey::from_pem(pem).map_err(|error| wrong(&error))
}
