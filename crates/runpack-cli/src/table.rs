//! Text in columns, sizes, and text that is not ours.

use runpack_core::display::Printable;

/// Untrusted text as a terminal may show it.
pub fn safe(text: &str) -> String {
    Printable(text).to_string()
}

/// A size for people: `1.2 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes;
    let mut rest = 0;
    let mut unit = "";
    for name in UNITS {
        if scaled < 1_024 {
            break;
        }
        rest = scaled % 1_024;
        scaled >>= 10;
        unit = name;
    }
    let tenths = rest.saturating_mul(10) >> 10;
    format!("{scaled}.{tenths} {unit}")
}

/// A count with its noun: `1 artifact`, `2 artifacts`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Digits in groups of three: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lines of columns, two spaces between them. Cells are safe text; widths count characters.
pub fn columns(align: &[Align], rows: &[Vec<String>]) -> String {
    let mut widths = vec![0usize; align.len()];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), align) in row.iter().zip(&widths).zip(align) {
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => {
                    line.push_str(cell);
                    line.push_str(&space);
                }
                Align::Right => {
                    line.push_str(&space);
                    line.push_str(cell);
                }
            }
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of `name  value`, indented, the names in a column.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields {
        let space = " ".repeat(width.saturating_sub(name.len()));
        add!(text, "  {name}{space}  {value}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (1_048_575, "1023.9 KiB"),
            (8 << 20, "8.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
        assert_eq!(count(1, "artifact"), "1 artifact");
        assert_eq!(count(1_000, "artifact"), "1,000 artifacts");
    }
}
