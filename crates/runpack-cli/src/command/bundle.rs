//! `runpack bundle`: a pack becomes one file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use runpack_core::verify::Pack;
use serde_json::json;

use super::Execute;
use crate::bundle_file::{self, CompressionOption, Made};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::table::{fields, safe, size};
use crate::target::{Locate, Target};
use crate::unsound;

/// Write a pack as one .tar.gz
///
/// A bundle is made only of bytes that are as the manifest commits to them. It has the pack's own id, can be verified
/// as it comes (from standard input too), and is read by any `tar`. If the same pack is at OUT already, nothing is done.
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The pack: a directory, or a store, file:ROOT or s3://BUCKET/PREFIX
    #[arg(value_name = "PACK_DIR")]
    target: OsString,
    /// The file to write; what is there is not replaced
    #[arg(value_name = "OUT.tar.gz")]
    out: PathBuf,
    /// How to compress it
    #[arg(long, value_name = "HOW", default_value = "balanced")]
    compression: CompressionOption,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    locate: Locate,
}

impl Execute for Bundle {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let target = Target::locate(&self.target, &self.locate, context)?;
        target.check_outside("bundle", &self.out)?;
        let Target::Files(files) = target else {
            return Err(Failure::new(
                "the target is a bundle already, or a file",
                "give a pack directory, or a store and whose pack it is",
            ));
        };
        let container = Arc::clone(&files.container);
        let pack = context
            .wait(Pack::open(Arc::clone(&container), &limits))?
            .map_err(|report| unsound::failure(&report))?;
        if let Some(subject) = files.subject()
            && subject != pack.manifest().subject()
        {
            return Err(unsound::of_another_subject());
        }
        let manifest = Arc::clone(pack.manifest());
        let how = self.compression.into();
        let made = bundle_file::write(context, &container, &manifest, &self.out, how, &limits)?;
        let path = std::fs::canonicalize(&self.out).unwrap_or(self.out);
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "pack_id": manifest.pack_id(),
                "bundle": path.to_string_lossy(),
                "bundle_bytes": bytes,
                "bundle_commit": made.as_str(),
            }))?,
            Format::Text => {
                let said = match made {
                    Made::New => "bundled",
                    Made::Again => "bundled before: this very pack is there, nothing was changed",
                };
                let facts = fields(&[
                    ("pack id", manifest.pack_id().to_string()),
                    (
                        "bundle",
                        format!("{}, {}", safe(&path.to_string_lossy()), size(bytes)),
                    ),
                ]);
                context.output.print(&format!("{said}\n\n{facts}"))?;
            }
        }
        Ok(Exit::Success)
    }
}
