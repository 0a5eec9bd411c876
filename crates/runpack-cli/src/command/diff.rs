//! `runpack diff`: what differs between two packs, by their manifests.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use runpack_core::manifest::{Artifact, Manifest};
use serde_json::{Value, json};

use super::{Execute, show};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::{Format, Tone};
use crate::table::{count, grouped, safe};
use crate::target::{Locate, Target};

/// Compare two packs by what their manifests say, without verifying them
///
/// Artifacts are compared by name and commitment, so contents are compared without being read. Exits with 0 if the
/// packs are one and the same, 1 if they differ, 2 if one of them cannot be read.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The one pack: a directory, a bundle, or the place of one in a store as `runpack list` shows it
    #[arg(value_name = "A")]
    a: OsString,
    /// The other
    #[arg(value_name = "B")]
    b: OsString,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Execute for Diff {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        if self.a == "-" && self.b == "-" {
            return Err(Failure::new(
                "there is only one standard input",
                "give one of the two packs as a path",
            ));
        }
        let manifest = |target| -> Result<Arc<Manifest>, Failure> {
            show::manifest_of(
                &Target::locate(target, &Locate::default(), context)?,
                &limits,
                context,
            )
            // To compare, a pack that cannot be taken apart is trouble and no difference.
            .map_err(|failure| failure.with_exit(Exit::Trouble))
        };
        let (a, b) = (manifest(&self.a)?, manifest(&self.b)?);
        let differences = Differences::of(&a, &b);
        match context.output.format() {
            Format::Json => context.output.print_json(&differences.to_json(&a, &b))?,
            Format::Text => context.output.print(&differences.text(&a, &b, context))?,
        }
        Ok(if a.pack_id() == b.pack_id() {
            Exit::Success
        } else {
            Exit::Invalid
        })
    }
}

#[derive(Default)]
struct Differences<'a> {
    /// Members beside the artifacts: name, what A says, what B says.
    members: Vec<(String, Option<String>, Option<String>)>,
    removed: Vec<&'a Artifact>,
    added: Vec<&'a Artifact>,
    changed: Vec<(&'a Artifact, &'a Artifact)>,
    same: u64,
}

impl<'a> Differences<'a> {
    fn of(a: &'a Manifest, b: &'a Manifest) -> Self {
        let mut differences = Self {
            members: members(a, b),
            ..Self::default()
        };
        let mut left = a.artifacts().iter().peekable();
        let mut right = b.artifacts().iter().peekable();
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => a.name().cmp(b.name()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return differences,
            };
            let one = (order != Ordering::Greater).then(|| left.next()).flatten();
            let other = (order != Ordering::Less).then(|| right.next()).flatten();
            match (one, other) {
                (Some(a), Some(b)) if a == b => {
                    differences.same = differences.same.saturating_add(1);
                }
                (Some(a), Some(b)) => differences.changed.push((a, b)),
                (Some(a), None) => differences.removed.push(a),
                (None, Some(b)) => differences.added.push(b),
                (None, None) => return differences,
            }
        }
    }

    fn to_json(&self, a: &Manifest, b: &Manifest) -> Value {
        let names = |artifacts: &[&Artifact]| -> Vec<Value> {
            artifacts
                .iter()
                .map(|artifact| json!(artifact.name()))
                .collect()
        };
        let changed: Vec<Value> = self
            .changed
            .iter()
            .map(|(a, b)| json!({ "name": a.name(), "what": what_changed(a, b) }))
            .collect();
        let members: Vec<Value> = self
            .members
            .iter()
            .map(|(member, a, b)| json!({ "member": member, "a": a, "b": b }))
            .collect();
        json!({
            "same": a.pack_id() == b.pack_id(),
            "a": a.pack_id(),
            "b": b.pack_id(),
            "members": members,
            "added": names(&self.added),
            "removed": names(&self.removed),
            "changed": changed,
            "artifacts_same": self.same,
        })
    }

    fn text(&self, a: &Manifest, b: &Manifest, context: &Context) -> String {
        let output = &context.output;
        if a.pack_id() == b.pack_id() {
            return format!("same: both are the pack {}\n", a.pack_id());
        }
        let mut text = format!(
            "different packs (not verified)\n  a  {}\n  b  {}\n",
            a.pack_id(),
            b.pack_id()
        );
        if !self.members.is_empty() {
            text.push('\n');
        }
        for (member, a, b) in &self.members {
            let shown =
                |value: &Option<String>| value.as_deref().map_or_else(|| "(none)".to_owned(), safe);
            add!(text, "  {member}: {} -> {}\n", shown(a), shown(b));
        }
        text.push('\n');
        for artifact in &self.removed {
            text.push_str(&output.tone(Tone::Bad, &format!("  - {}", artifact.name())));
            text.push('\n');
        }
        for artifact in &self.added {
            text.push_str(&output.tone(Tone::Good, &format!("  + {}", artifact.name())));
            text.push('\n');
        }
        for (a, b) in &self.changed {
            let what = what_changed(a, b).join(", ");
            text.push_str(&output.tone(Tone::Open, &format!("  ~ {}", a.name())));
            add!(text, "  ({what})\n");
        }
        let number = |of: usize| grouped(u64::try_from(of).unwrap_or(u64::MAX));
        add!(
            text,
            "{} removed, {} added, {} changed, {} the same\n",
            number(self.removed.len()),
            number(self.added.len()),
            number(self.changed.len()),
            count(self.same, "artifact")
        );
        text
    }
}

fn what_changed(a: &Artifact, b: &Artifact) -> Vec<&'static str> {
    [
        ("content", a.commitment() != b.commitment()),
        ("bytes", a.bytes() != b.bytes()),
        ("kind", a.kind() != b.kind()),
        ("media_type", a.media_type() != b.media_type()),
        ("title", a.title() != b.title()),
        ("step", a.step() != b.step()),
        ("inputs", a.inputs() != b.inputs()),
        ("claimed_sha256", a.claimed_sha256() != b.claimed_sha256()),
    ]
    .into_iter()
    .filter_map(|(member, differs)| differs.then_some(member))
    .collect()
}

fn members(a: &Manifest, b: &Manifest) -> Vec<(String, Option<String>, Option<String>)> {
    let all = |manifest: &Manifest| {
        let mut all = vec![
            (
                "subject.kind".to_owned(),
                manifest.subject().kind().to_owned(),
            ),
            ("created_at".to_owned(), manifest.created_at().to_string()),
            (
                "producer".to_owned(),
                format!(
                    "{} {}",
                    manifest.producer().name,
                    manifest.producer().version
                ),
            ),
        ];
        all.extend(
            manifest
                .subject()
                .fields()
                .into_iter()
                .map(|(member, value)| (format!("subject.{member}"), value)),
        );
        all.extend(
            manifest
                .labels()
                .iter()
                .map(|(key, value)| (format!("labels.{key}"), value.to_string())),
        );
        all
    };
    let (a, b) = (all(a), all(b));
    let find = |all: &[(String, String)], member: &str| {
        all.iter()
            .find(|(known, _)| known == member)
            .map(|(_, value)| value.clone())
    };
    let names: BTreeSet<&String> = a.iter().chain(&b).map(|(member, _)| member).collect();
    names
        .into_iter()
        .map(|member| (member.clone(), find(&a, member), find(&b, member)))
        .filter(|(_, a, b)| a != b)
        .collect()
}
