//! The machine that was measured on, and the day.

use std::fs;

use super::Bench;
use crate::command::{Result, read, since_1970};

/// The machine and the compiler, as lines of a list.
pub(super) fn described(bench: &Bench<'_>) -> Result<String> {
    let workspace = bench.workspace;
    let rustc = read(workspace.command("rustc").arg("--version"))?;
    let kernel = read(workspace.command("uname").arg("-srm"))?;
    Ok(format!(
        "- machine: {cores} x {processor}, {memory} GiB, {kernel}\n\
         - built with: {rustc}\n",
        cores = bench.peers.processes,
        processor = field("/proc/cpuinfo", "model name"),
        memory = memory_gib(),
        kernel = kernel.trim(),
        rustc = rustc.trim(),
    ))
}

/// Today.
pub(super) fn today() -> String {
    date(since_1970().as_secs())
}

/// The first value of a name in a file of `name: value` lines.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value
        .map_or("unknown", |(_, value)| value.trim())
        .to_owned()
}

fn memory_gib() -> u64 {
    let total = field("/proc/meminfo", "MemTotal");
    let kib: Option<u64> = total.split(' ').next().and_then(|kib| kib.parse().ok());
    kib.map_or(0, |kib| kib.div_ceil(1024 * 1024))
}

/// The date of a time since 1970, by counting years and months.
fn date(seconds: u64) -> String {
    let mut days = seconds / 86_400;
    let mut year = 1970_u64;
    let mut month = 1_u64;
    loop {
        let is_leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let Some(rest) = days.checked_sub(length) else {
            return format!("{year}-{month:02}-{:02}", days.saturating_add(1));
        };
        days = rest;
        month = if month == 12 {
            1
        } else {
            month.saturating_add(1)
        };
        year = year.saturating_add(u64::from(month == 1));
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(951_868_800), "2000-03-01");
        assert_eq!(date(1_795_132_800), "2026-11-20");
    }
}
