//! `runpack verify-attestation`: what somebody saw of a pack's storage, and whether they signed it.

use std::path::PathBuf;

use clap::Args;

use super::Execute;
use crate::attestation::{AttestationOptions, json_of, text_of};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::pins;

/// Verify an attestation of a pack's storage, offline
///
/// An attestation says what somebody saw of the objects of a pack in a store: which versions, locked until when, and how
/// each of it is known. It counts if this key signed it, if it is about this pack, and if it does not contradict itself.
///
/// Exit codes: 0 it counts, 1 it does not, 2 it could not be read
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runpack verify-attestation attestation.json --key signer.pub.pem --manifest pack/manifest.json
  runpack verify-attestation attestation.json --key signer.pub.pem --pack-id sha256:9f2c... --json")]
pub(crate) struct VerifyAttestation {
    #[command(flatten)]
    attestation: AttestationOptions,
    /// The public key (PEM) of whoever signed it
    #[arg(long, value_name = "PUBLIC.pem")]
    key: PathBuf,
}

impl Execute for VerifyAttestation {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let key = pins::public_key(&self.key, "--key")?;
        let attestation = self.attestation.verify(&[key])?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json_of(&attestation))?,
            Format::Text => {
                let stamped = match attestation.timestamps().len() {
                    0 => "none".to_owned(),
                    stamps => format!("{stamps}, not checked here: Docs/auditors.md says how"),
                };
                let text = text_of(context, &attestation, &stamped);
                context.output.print(&text)?;
            }
        }
        Ok(Exit::Success)
    }
}
