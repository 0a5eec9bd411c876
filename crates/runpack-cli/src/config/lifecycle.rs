//! The section `runpacks.lifecycle`, and a file that holds nothing else: what moves to a cheaper storage class, and when.

use std::path::Path;

use runpack_core::lifecycle::{Lifecycle, Transition};
use serde::Deserialize;

use super::Read;
use super::document::text;
use crate::duration::parse_duration;
use crate::failure::Failure;
use crate::limits::parse_bytes;
use crate::yaml;

const DAY_SECONDS: u64 = 86_400;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LifecycleSection {
    #[serde(default)]
    transitions: Vec<TransitionSection>,
    #[serde(default)]
    noncurrent: Vec<TransitionSection>,
    #[serde(default, deserialize_with = "text")]
    dangerously_remove_noncurrent_after: Option<String>,
    #[serde(default, deserialize_with = "text")]
    aborted_uploads_after: Option<String>,
    #[serde(default, deserialize_with = "text")]
    larger_than: Option<String>,
    #[serde(default, deserialize_with = "text")]
    archive_larger_than: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransitionSection {
    to: String,
    after: String,
}

/// Reads a file that holds what stands below `runpacks.lifecycle` elsewhere.
///
/// # Errors
/// There is none, or it is not one.
#[cfg(feature = "catalog")]
pub(crate) fn load(path: &Path) -> Result<Lifecycle, Failure> {
    let section = yaml::read::<LifecycleSection>(path)?.ok_or_else(|| {
        Failure::new(
            format!("there is no such file, path=`{}`", path.display()),
            "check the path",
        )
    })?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let read = Read { from: path, beside };
    read.lifecycle(section)
}

impl Read<'_> {
    pub(super) fn lifecycle(&self, section: LifecycleSection) -> Result<Lifecycle, Failure> {
        let mut wishes = Lifecycle {
            transitions: self.transitions("transitions", section.transitions)?,
            noncurrent: self.transitions("noncurrent", section.noncurrent)?,
            ..Lifecycle::default()
        };
        let days = |key, text: Option<String>| text.map(|t| self.days(key, &t)).transpose();
        wishes.dangerous_noncurrent_expiry_days = days(
            "dangerously_remove_noncurrent_after",
            section.dangerously_remove_noncurrent_after,
        )?;
        wishes.aborted_uploads_days = days("aborted_uploads_after", section.aborted_uploads_after)?;
        if let Some(text) = section.larger_than {
            wishes.larger_than = self.bytes("larger_than", &text)?;
        }
        if let Some(text) = section.archive_larger_than {
            wishes.archive_larger_than = self.bytes("archive_larger_than", &text)?;
        }
        Ok(wishes)
    }

    fn transitions(
        &self,
        key: &str,
        sections: Vec<TransitionSection>,
    ) -> Result<Vec<Transition>, Failure> {
        let each = sections.into_iter().map(|section| {
            let to = section.to.parse().map_err(|error| {
                let rule = "write GLACIER_IR, GLACIER, DEEP_ARCHIVE, STANDARD_IA or ONEZONE_IA";
                self.wrong(&named(key), &section.to, rule).because(&error)
            })?;
            let after_days = self.days(key, &section.after)?;
            Ok(Transition { after_days, to })
        });
        each.collect()
    }

    fn days(&self, key: &str, text: &str) -> Result<u32, Failure> {
        let wrong = || self.wrong(&named(key), text, "write whole days or weeks, such as 90d");
        let seconds = parse_duration(text).map_err(|_| wrong())?.seconds();
        let days = seconds.checked_div(DAY_SECONDS);
        let days = days.filter(|_| seconds.is_multiple_of(DAY_SECONDS));
        let days = days.and_then(|days| u32::try_from(days).ok());
        days.ok_or_else(wrong)
    }

    fn bytes(&self, key: &str, text: &str) -> Result<u64, Failure> {
        parse_bytes(text).map_err(|_| {
            let rule = "write a number of bytes, or one with KiB, MiB, GiB or TiB, such as 64MiB";
            self.wrong(&named(key), text, rule)
        })
    }
}

fn named(key: &str) -> String {
    format!("runpacks.lifecycle.{key}")
}
