//! Printing: the one place that does.
//!
//! Results go to standard output, errors and progress to standard error. Colour only on a terminal
//! and never under `NO_COLOR`. A reader that goes away early (`| head`) is no error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use runpack_core::display::Printable;
use serde::Serialize;

use crate::environment::Environment;
use crate::failure::Failure;

/// What a result is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A colour or weight on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It holds.
    Good,
    /// It does not.
    Bad,
    /// It is open.
    Open,
    /// A heading.
    Strong,
    /// Aside.
    Faint,
}

/// Where results and errors go.
#[derive(Debug, Clone)]
pub struct Output {
    format: Format,
    color_out: bool,
    color_err: bool,
    bars: bool,
}

impl Output {
    /// The process's standard output and error.
    pub fn new(format: Format, environment: &Environment) -> Self {
        let color = !environment.no_color && !environment.dumb_terminal;
        Self {
            format,
            color_out: color && io::stdout().is_terminal(),
            color_err: color && io::stderr().is_terminal(),
            bars: !environment.dumb_terminal && io::stderr().is_terminal(),
        }
    }

    /// What results are written as.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether progress is shown.
    pub const fn shows_progress(&self) -> bool {
        self.bars
    }

    /// Whether standard error takes colour.
    pub const fn color_err(&self) -> bool {
        self.color_err
    }

    /// Text for standard output in a tone, where the terminal has tones.
    pub fn tone(&self, tone: Tone, text: &str) -> String {
        paint(self.color_out, tone, text)
    }

    /// Writes a result for people. Each part of it that is not ours has gone through [`Printable`].
    ///
    /// # Errors
    /// Standard output does not take it.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        write_all(&mut io::stdout().lock(), text.as_bytes())
    }

    /// Writes bytes that are somebody else's: as they are, but to a terminal without what could steer it (threat B29).
    ///
    /// # Errors
    /// Standard output does not take it.
    pub fn print_foreign(&self, bytes: &[u8]) -> Result<(), Failure> {
        if !io::stdout().is_terminal() {
            return write_all(&mut io::stdout().lock(), bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        let mut shown = String::with_capacity(text.len());
        for found in text.chars() {
            match found {
                '\n' | '\t' => shown.push(found),
                _ => add!(shown, "{}", Printable(found.encode_utf8(&mut [0; 4]))),
            }
        }
        self.print(&shown)
    }

    /// Writes a result for programs as one line.
    ///
    /// # Errors
    /// Standard output does not take it.
    pub fn print_json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = to_json(value)?;
        line.push('\n');
        self.print(&line)
    }

    /// Writes a help text, with clap's own styles where the terminal has them.
    ///
    /// # Errors
    /// Standard output does not take it.
    pub fn print_help(&self, text: &clap::builder::StyledStr) -> Result<(), Failure> {
        let text = if self.color_out {
            text.ansi().to_string()
        } else {
            text.to_string()
        };
        self.print(&text)
    }

    /// Writes a remark to standard error.
    pub fn remark(&self, text: &str) {
        // There is nobody left to tell that standard error is gone.
        let _ = writeln!(io::stderr().lock(), "{}", Printable(text));
    }

    /// Writes why a command was not done.
    pub fn fail(&self, failure: &Failure) {
        let failure = failure.clone().masked();
        let mut text = String::new();
        match self.format {
            Format::Json => {
                text = to_json(&failure.to_json()).unwrap_or_default();
                text.push('\n');
            }
            Format::Text => {
                let error = paint(self.color_err, Tone::Bad, "error:");
                let help = paint(self.color_err, Tone::Strong, "help:");
                // Writing to a string does not fail.
                let _ = writeln!(text, "{error} {}", Printable(&failure.line()));
                for detail in failure.details() {
                    let _ = writeln!(text, "  {}", Printable(detail));
                }
                let _ = writeln!(text, "{help} {}", Printable(failure.help()));
            }
        }
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn write_all(stream: &mut impl io::Write, bytes: &[u8]) -> Result<(), Failure> {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            "the result could not be written to standard output",
            "check where standard output leads, then try again",
        )
        .because(&error)),
        _ => Ok(()),
    }
}

fn paint(color: bool, tone: Tone, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "1;32",
        Tone::Bad => "1;31",
        Tone::Open => "1;33",
        Tone::Strong => "1",
        Tone::Faint => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// JSON in which everything invisible or directional is spelled `\uXXXX`, so that it may be looked at
/// on a terminal too; it means the same.
fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    let plain = serde_json::to_string(value).map_err(|error| {
        Failure::new(
            "the result could not be written as JSON",
            "this is a bug in Runpack: report it",
        )
        .because(&error)
    })?;
    let mut safe = String::with_capacity(plain.len());
    for found in plain.chars() {
        let mut one = [0u8; 4];
        let one: &str = found.encode_utf8(&mut one);
        if found.is_ascii() || Printable(one).to_string() == one {
            // What is ASCII and invisible, serde_json has escaped already, but for DEL.
            match found {
                '\u{7f}' => safe.push_str("\\u007f"),
                found => safe.push(found),
            }
            continue;
        }
        for unit in found.encode_utf16(&mut [0u16; 2]) {
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b29_json_holds_nothing_that_a_terminal_obeys() {
        let hostile = "a\u{1b}[31m\u{9b}2J\u{202e}\u{7f}Ü\u{e0001}\n";
        let json = to_json(&hostile).unwrap();
        assert_eq!(
            json,
            "\"a\\u001b[31m\\u009b2J\\u202e\\u007fÜ\\udb40\\udc01\\n\""
        );
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn no_tone_without_colour() {
        assert_eq!(paint(false, Tone::Bad, "x"), "x");
        assert_eq!(paint(true, Tone::Bad, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
