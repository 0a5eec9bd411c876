//! Untrusted text as it may be shown: no control character, escape sequence or direction override
//! reaches a terminal or a page (threats B13, B29).

use std::fmt::{self, Write as _};

/// Shows text with everything invisible or directional escaped as `\u{..}`.
///
/// ```
/// use runpack_core::display::Printable;
///
/// assert_eq!(Printable("red \u{1b}[31m").to_string(), "red \\u{1b}[31m");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in self.0.chars() {
            if found.is_control() || is_deceptive(found) {
                write!(f, "{}", found.escape_unicode())?;
            } else {
                f.write_char(found)?;
            }
        }
        Ok(())
    }
}

/// Characters that are invisible or reorder what stands around them: general category Cf and other
/// default-ignorable characters, fillers, spaces other than the plain one, separators, private use, tags.
const fn is_deceptive(found: char) -> bool {
    matches!(
        found,
        '\u{a0}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{1680}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200a}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3000}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b29_nothing_reaches_a_terminal_as_a_command() {
        for (raw, shown) in [
            ("plain Ü 漢", "plain Ü 漢"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\r", "a\\u{a}b\\u{d}"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
        ] {
            assert_eq!(Printable(raw).to_string(), shown);
        }
    }
}
