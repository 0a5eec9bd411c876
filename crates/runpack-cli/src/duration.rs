//! Lengths of time as people write them: `90s`, `15m`, `36h`, `7d`, `2w`.

use std::time::Duration;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurationArgument(u64);

impl DurationArgument {
    pub(crate) const fn seconds(self) -> u64 {
        self.0
    }

    pub(crate) const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// Reads one.
///
/// # Errors
/// It is none; the text says how one is written.
pub(crate) fn parse_duration(text: &str) -> Result<DurationArgument, String> {
    let digits = text.trim_end_matches(|found: char| found.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => {
            return Err(
                "a length of time is a whole number and s, m, h, d or w, such as 36h".to_owned(),
            );
        }
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(
            "a length of time is a whole number and s, m, h, d or w, such as 36h".to_owned(),
        );
    }
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .map(DurationArgument)
        .ok_or_else(|| "the length of time is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("36h", Some(129_600)),
            ("7d", Some(604_800)),
            ("2w", Some(1_209_600)),
            ("7", None),
            ("d", None),
            ("-1d", None),
            ("1.5h", None),
            ("1 h", None),
            ("7y", None),
            ("99999999999999999999d", None),
            ("99999999999999999w", None),
        ] {
            assert_eq!(
                parse_duration(text).ok().map(DurationArgument::seconds),
                seconds,
                "{text}"
            );
        }
    }
}
