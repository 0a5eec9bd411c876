//! `--max-artifact-bytes` and `MAX_RUNPACK_ARTIFACT_BYTES`.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

use clap::Args;
use runpack_core::limits::Limits;

use crate::environment::Environment;
use crate::failure::Failure;

/// Bounds that a caller may move.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitOptions {
    /// Largest artifact to take, in bytes or KiB, MiB, GiB, TiB [env: MAX_RUNPACK_ARTIFACT_BYTES]
    /// [default: 16TiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_artifact_bytes: Option<u64>,
}

impl LimitOptions {
    pub(crate) fn limits(&self, environment: &Environment) -> Result<Limits, Failure> {
        let from_environment = || {
            let Some(text) = &environment.artifact_bytes_max else {
                return Ok(None);
            };
            let text = text.to_string_lossy();
            parse_bytes(&text).map(Some).map_err(|fault| {
                Failure::new(
                    format!("MAX_RUNPACK_ARTIFACT_BYTES is no size, value=`{text}`: {fault}"),
                    "set it to a number of bytes, such as 1073741824 or 1GiB, or unset it",
                )
            })
        };
        let mut limits = Limits::default();
        let bytes_max = match self.max_artifact_bytes {
            Some(bytes_max) => Some(bytes_max),
            None => from_environment()?,
        };
        if let Some(bytes_max) = bytes_max {
            limits.artifact_bytes_max = bytes_max;
            limits.pack_bytes_max = limits.pack_bytes_max.max(bytes_max);
        }
        Ok(limits)
    }
}

pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|found: char| found.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1u64 << 40,
        _ => return Err("units are KiB, MiB, GiB and TiB".to_owned()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a size is a whole number, such as 1073741824 or 1GiB".to_owned());
    }
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("12B", Some(12)),
            ("2GiB", Some(2 << 30)),
            ("16TiB", Some(16 << 40)),
            ("", None),
            ("GiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("1gb", None),
            ("1 GiB", None),
            ("99999999999999999999", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), bytes, "{text}");
        }
    }
}
