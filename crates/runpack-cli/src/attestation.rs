//! Attestations of storage as a person has them: a file, a key, and the pack that it must be about.

use std::path::PathBuf;

use clap::Args;
use runpack_core::attestation::{
    ATTESTATION_BYTES_MAX, Attestation, AttestationError, Claim, Expected, Mode, Verdict, verify,
};
use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::sign::{SignatureError, VerifyingKey};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::output::Tone;
use crate::table::{count, fields, safe};

/// An attestation, and what it must be about.
#[derive(Debug, Clone, Args)]
pub struct AttestationOptions {
    /// The attestation (a Sigstore bundle)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The pack's manifest.json: that no artifact is missing from the attestation is checked too
    #[arg(long, value_name = "MANIFEST", required_unless_present = "pack_id")]
    manifest: Option<PathBuf>,
    /// The pack that it must be about: sha256:...
    #[arg(long, value_name = "PACK_ID", conflicts_with = "manifest")]
    pack_id: Option<PackId>,
}

impl AttestationOptions {
    /// Reads and verifies it; one of these keys must have signed it.
    ///
    /// # Errors
    /// It cannot be read (2), or does not count (1).
    pub fn verify(&self, trusted: &[VerifyingKey]) -> Result<Attestation, Failure> {
        let bytes_max = u64::try_from(ATTESTATION_BYTES_MAX).unwrap_or(u64::MAX);
        let help = "give the file that `attest create` wrote";
        let bytes = file::read_capped(&self.file, bytes_max, "the attestation", help)?;
        let manifest = self.manifest()?;
        let expected = match (&manifest, self.pack_id) {
            (Some(manifest), _) => Expected::Manifest(manifest),
            (None, Some(pack_id)) => Expected::PackId(pack_id),
            (None, None) => {
                return Err(Failure::new(
                    "an attestation is about one pack, and nothing says which",
                    "give --manifest or --pack-id",
                ));
            }
        };
        let mut last = None;
        for key in trusted {
            match verify(&bytes, key, expected) {
                Ok(attestation) => return Ok(attestation),
                Err(error) => {
                    let is_key = matches!(
                        error,
                        AttestationError::Signature(SignatureError::NotVerified { .. })
                    );
                    last = Some(error);
                    if !is_key {
                        break;
                    }
                }
            }
        }
        let failure = Failure::new(
            "the attestation does not count",
            "get it, the key and the manifest again from whoever made them; nothing of it is to be believed",
        );
        Err(match last {
            Some(error) => failure.because(&error).with_exit(Exit::Invalid),
            None => Failure::new(
                "no key is named whose signature counts",
                "name a public key",
            ),
        })
    }

    /// That it must be about this pack.
    pub fn of_pack(file: PathBuf, pack_id: PackId) -> Self {
        Self {
            file,
            manifest: None,
            pack_id: Some(pack_id),
        }
    }

    fn manifest(&self) -> Result<Option<Manifest>, Failure> {
        let Some(path) = &self.manifest else {
            return Ok(None);
        };
        let limits = Limits::default();
        let help = "give the manifest.json of the pack";
        let bytes = file::read_capped(path, limits.manifest_bytes_max, "the manifest", help)?;
        let manifest = Manifest::parse(&bytes, &limits).map_err(|error| {
            Failure::new(
                format!("this is no manifest, path=`{}`", path.display()),
                help,
            )
            .because(&error)
            .with_exit(Exit::Invalid)
        })?;
        Ok(Some(manifest))
    }
}

/// What a verified attestation says, for programs.
pub fn json_of(attestation: &Attestation) -> Value {
    let predicate = attestation.predicate();
    json!({
        "pack_id": attestation.pack_id(),
        "key_id": attestation.key_id(),
        "observed_at": predicate.observed_at,
        "retained_until": predicate.retained_until,
        "mode": predicate.least_mode().map(Mode::as_str),
        "immutable": predicate.is_immutable(),
        "enforcement": enforcement(&predicate.enforcement).map(Verdict::as_str),
        "objects": predicate.objects.len(),
        "findings": predicate.findings,
        "timestamps": attestation.timestamps().len(),
    })
}

fn enforcement(claim: &Claim<runpack_core::attestation::Enforcement>) -> Option<Verdict> {
    claim.value.as_ref().map(|enforcement| enforcement.verdict)
}

/// What a verified attestation says, for people. `stamped` is what is known of its time stamps.
pub fn text_of(context: &Context, attestation: &Attestation, stamped: &str) -> String {
    let predicate = attestation.predicate();
    let mode = predicate.least_mode();
    let lock = match (mode, predicate.retained_until) {
        (Some(mode), Some(until)) => format!("{} until {until}, or more", mode.as_str()),
        _ => "none on at least one object, or not told".to_owned(),
    };
    let proved = match enforcement(&predicate.enforcement) {
        Some(verdict) => verdict.as_str(),
        None => "not observed",
    };
    let store = &predicate.store;
    let objects = u64::try_from(predicate.objects.len()).unwrap_or(u64::MAX);
    let findings = u64::try_from(predicate.findings.len()).unwrap_or(u64::MAX);
    let word = context.output.tone(Tone::Good, "attested");
    let mut text = format!("{word}  {}\n", attestation.pack_id());
    text.push_str(&fields(&[
        (
            "store",
            safe(&format!("{} {}", store.endpoint, store.bucket)),
        ),
        ("objects", count(objects, "object")),
        ("lock", lock),
        ("enforced", proved.to_owned()),
        (
            "observed",
            format!("{}, as the signer says", predicate.observed_at),
        ),
        ("time stamp", stamped.to_owned()),
        ("key id", attestation.key_id().to_string()),
        ("findings", count(findings, "finding")),
    ]));
    for finding in predicate.findings.iter().take(20) {
        let key = finding.key.as_deref().unwrap_or_default();
        let (code, key, what) = (safe(&finding.code), safe(key), safe(&finding.text));
        add!(text, "  {code}  {key}: {what}\n");
    }
    text
}
