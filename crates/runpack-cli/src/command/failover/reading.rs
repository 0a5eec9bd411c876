//! Packs, verified in full through one reader, and what was wrong with them.

use std::sync::Arc;

use runpack_core::bundle::verify_bundle;
use runpack_core::id::PackId;
use runpack_core::key::ObjectKey;
use runpack_core::limits::Limits;
use runpack_core::manifest::Subject;
use runpack_core::pin::Pins;
use runpack_core::store::{ArtifactReader, StoreError, Stored};
use runpack_core::verify::{Level, Pack, StorePack, Verdict, VerifyOptions, VerifyReport};

use super::examined::Verified;
use super::packs::Wanted;

/// How many faults of one reader are told.
const FAULTS_MAX: usize = 100;

/// Verifies each pack in full through one reader, by its id.
pub(super) async fn verify<'a>(
    reader: &Arc<dyn ArtifactReader>,
    wanted: impl Iterator<Item = &'a Wanted>,
    limits: &Limits,
) -> Verified {
    let mut verified = Verified::default();
    for one in wanted {
        let key = one.location.to_string();
        let report = match one.location.manifest_subject() {
            Some(subject) => Ok(of_files(reader, subject, one.pack_id, limits).await),
            None => of_bundle(reader, one, limits).await,
        };
        match report {
            Ok(report) if report.verdict == Verdict::Valid => {
                verified.verified = verified.verified.saturating_add(1);
            }
            Ok(report) => fault(&mut verified.faults, &key, &said(&report)),
            Err(error) => fault(
                &mut verified.faults,
                &key,
                &runpack_core::display::chain(&error),
            ),
        }
    }
    verified
}

async fn of_files(
    reader: &Arc<dyn ArtifactReader>,
    subject: Subject,
    pack_id: PackId,
    limits: &Limits,
) -> VerifyReport {
    let place = StorePack::new(Arc::clone(reader), subject);
    let mut options = VerifyOptions::level(Level::Full);
    options.limits = limits.clone();
    match Pack::open(Arc::new(place), limits).await {
        Ok(pack) => pack.verify(&Pins::pack_id(pack_id), &options).await,
        Err(report) => *report,
    }
}

async fn of_bundle(
    reader: &Arc<dyn ArtifactReader>,
    one: &Wanted,
    limits: &Limits,
) -> Result<VerifyReport, StoreError> {
    // A key that was read as a location is the key of that location.
    let key: ObjectKey = one.location.key().map_err(|_| StoreError::NotFound {
        key: one.location.to_string(),
    })?;
    let stored = Stored::find(Arc::clone(reader), &key).await?;
    let (bounds, pack_id) = (limits.clone(), one.pack_id);
    let outcome = stored
        .read(move |source| verify_bundle(source, &bounds, Level::Full))
        .await?;
    Ok(VerifyReport::of_bundle(
        outcome,
        |_| Pins::pack_id(pack_id),
        Level::Full,
    ))
}

pub(super) fn said(report: &VerifyReport) -> String {
    let findings = report.findings.iter().take(3).map(|finding| {
        let about = finding.about.as_deref().unwrap_or_default();
        format!("{} {about} {}", finding.code, finding.detail)
    });
    findings.collect::<Vec<_>>().join("; ")
}

pub(super) fn fault(faults: &mut Vec<String>, about: &str, what: &str) {
    if faults.len() < FAULTS_MAX {
        faults.push(format!("{about}: {what}"));
    }
}
