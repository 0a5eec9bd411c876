//! `runpack show`: what a pack says of itself.

use std::sync::Arc;

use clap::Args;
use runpack_core::bundle::first_manifest;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Manifest};
use runpack_core::pin::Pins;
use runpack_core::retention::Removed;
use runpack_core::verify::{Level, Pack, VerifyReport};
use serde_json::{Value, json};

use super::Execute;
use crate::check;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::{Format, Tone};
use crate::report::text::about;
use crate::sources;
use crate::table::{Align, columns, count, fields, grouped, safe, size};
use crate::target::{BundleTarget, Target, TargetOptions};
use crate::unsound;

/// Show what a pack says of itself, without verifying it
///
/// Only the manifest is read, and nothing is proved: a pack that was changed may say the same. `verify` proves.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    target: TargetOptions,
}

impl Execute for Show {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let target = Target::open(&self.target, context)?;
        let manifest = manifest_of(&target, &limits, context)?;
        let gone = removed_of(&target, &manifest, context)?;
        match context.output.format() {
            Format::Json => {
                let mut shown = to_json(&manifest);
                if let (Some(members), Some(gone)) = (shown.as_object_mut(), &gone) {
                    members.insert("removed".to_owned(), json!(gone));
                }
                sources::add_to(&mut shown, target.failover());
                context.output.print_json(&shown)?;
            }
            Format::Text => {
                let mut shown = text(&manifest, context);
                if let Some(gone) = &gone {
                    add!(shown, "\n{}\n", safe(&check::removed_note(gone)));
                }
                context.output.print(&shown)?;
                sources::remark(context, target.failover());
            }
        }
        Ok(Exit::Success)
    }
}

/// What its store says of the removal of its artifacts.
fn removed_of(
    target: &Target,
    manifest: &Manifest,
    context: &Context,
) -> Result<Option<Removed>, Failure> {
    let Target::Files(files) = target else {
        return Ok(None);
    };
    match files.storage() {
        Some(storage) => context.wait(check::removed_from(&*storage.reader(), manifest)),
        None => Ok(None),
    }
}

/// The manifest of a target; nothing else is looked at.
pub(super) fn manifest_of(
    target: &Target,
    limits: &Limits,
    context: &Context,
) -> Result<Arc<Manifest>, Failure> {
    match target {
        Target::Files(files) => {
            let pack = context
                .wait(Pack::open(Arc::clone(&files.container), limits))?
                .map_err(|report| unsound::failure(&report))?;
            if files
                .subject()
                .is_some_and(|subject| subject != pack.manifest().subject())
            {
                return Err(unsound::of_another_subject());
            }
            Ok(Arc::clone(pack.manifest()))
        }
        Target::Bundle(bundle) => manifest_of_bundle(bundle, limits, context),
    }
}

fn manifest_of_bundle(
    bundle: &BundleTarget,
    limits: &Limits,
    context: &Context,
) -> Result<Arc<Manifest>, Failure> {
    let bounds = limits.clone();
    let read = bundle.read(context, "reading", move |source| {
        first_manifest(source, bounds)
    })?;
    read.map_err(|outcome| {
        let report = VerifyReport::of_bundle(*outcome, |_| Pins::none(), Level::Presence);
        unsound::failure(&report)
    })
}

/// One artifact: `Docs/cli/show.schema.json`.
fn artifact_json(artifact: &Artifact) -> Value {
    let mut value = json!({
        "name": artifact.name(),
        "kind": artifact.kind(),
        "media_type": artifact.media_type(),
        "bytes": artifact.bytes(),
        "commitment": artifact.commitment(),
    });
    if let Some(members) = value.as_object_mut() {
        if let Some(title) = artifact.title() {
            members.insert("title".to_owned(), json!(title));
        }
        if let Some(step) = artifact.step() {
            members.insert("step".to_owned(), json!(step));
        }
        if let Some(claimed) = artifact.claimed_sha256() {
            members.insert("claimed_sha256".to_owned(), json!(claimed));
        }
        if !artifact.inputs().is_empty() {
            members.insert("inputs".to_owned(), json!(artifact.inputs()));
        }
    }
    value
}

fn to_json(manifest: &Manifest) -> Value {
    let artifacts: Vec<Value> = manifest.artifacts().iter().map(artifact_json).collect();
    json!({
        "verified": false,
        "pack_id": manifest.pack_id(),
        "subject": manifest.subject(),
        "created_at": manifest.created_at(),
        "producer": manifest.producer(),
        "labels": manifest.labels(),
        "artifact_bytes": manifest.artifact_bytes(),
        "artifacts": artifacts,
    })
}

fn text(manifest: &Manifest, context: &Context) -> String {
    let output = &context.output;
    let mut rows = vec![
        ["NAME", "KIND", "MEDIA TYPE", "BYTES", "COMMITMENT"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for artifact in manifest.artifacts() {
        let commitment = artifact.commitment().to_string();
        let title = artifact
            .title()
            .map_or_else(String::new, |title| format!("  ({})", safe(title)));
        rows.push(vec![
            artifact.name().to_string(),
            artifact.kind().to_string(),
            artifact.media_type().to_string(),
            grouped(artifact.bytes()),
            format!("{}{title}", commitment.get(..12).unwrap_or(&commitment)),
        ]);
    }
    let align = [
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Left,
    ];
    let artifacts = u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX);
    format!(
        "{}: this is what the pack says of itself; `runpack verify` proves it\n\n{}\n{}, {}\n\n{}",
        output.tone(Tone::Open, "not verified"),
        fields(&about(manifest)),
        count(artifacts, "artifact"),
        size(manifest.artifact_bytes()),
        columns(&align, &rows)
    )
}
