//! The log of the process: lines of JSON for machines, or text for people, to standard error.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    /// A JSON document a line
    Json,
    /// A line for people
    Text,
}

/// Starts the log of this process.
pub(super) fn start(format: LogFormat, level: &str) {
    // Libraries that speak of every byte are asked for warnings alone.
    let filter = EnvFilter::new(format!("warn,runpack_server={level},runpack_cli={level}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // One process starts one log.
    let _ = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(false).try_init(),
    };
}
