//! One large artifact, sent by curl.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::super::contest::{Row, median};
use super::super::peers;
use super::super::workload::{Shape, Workload};
use super::server::{Kind, Server};
use super::{MEMORY_MIB_MAX, Range, settle};
use crate::command::{Result, read, stopwatch};

const COPY: &str = "cp and one sync (hashes nothing)";

/// Sends the file to Runpack, to the peer, and copies it, in turn.
pub(super) fn upload(range: &Range<'_>, is_quick: bool) -> Result<Vec<Row>> {
    let workload = Workload::new(Shape::Single, is_quick);
    let source = range.directory.join("source");
    workload.generate(&source)?;
    let file = source.join("d000/f00000.bin");
    let (mut own, mut peer, mut copy) = (Vec::new(), Vec::new(), Vec::new());
    let mut memory_mib = 0;
    for _ in 0..range.rounds {
        let (time, used_mib) = send(range, Kind::Runpack, &file)?;
        own.push(time);
        memory_mib = used_mib.max(memory_mib);
        peer.push(send(range, Kind::Rclone, &file)?.0);
        let made = range.directory.join("copy");
        copy.push(timed(&mut peers::copy_and_sync(&file, &made))?);
        fs::remove_file(made)?;
    }
    let middle = |times: &[Duration]| median(times.iter().map(Duration::as_secs_f64));
    let title = format!("an artifact, {workload}");
    let own = middle(&own);
    println!(
        "{:<52} {own:>7.3} s, {memory_mib} MiB",
        Kind::Runpack.name()
    );
    let mut rows = Vec::new();
    for (name, times) in [(Kind::Rclone.name(), &peer), (COPY, &copy)] {
        let time = middle(times);
        println!("{name:<52} {time:>7.3} s");
        rows.push(Row::ratio(&title, name, time / own, None));
    }
    rows.push(Row::bounded(
        &title,
        "resident memory",
        memory_mib,
        " MiB",
        MEMORY_MIB_MAX,
    ));
    Ok(rows)
}

/// Sends the file to a server with nothing in it: how long that took, and the server's memory afterwards.
fn send(range: &Range<'_>, kind: Kind, file: &Path) -> Result<(Duration, u64)> {
    let directory = range.directory.join("server");
    let server = range.servers.start(kind, &directory)?;
    let url = match kind {
        Kind::Rclone => format!("{}/bench/trace.bin", server.url),
        Kind::Runpack | Kind::Spooling => {
            let execution = execution(&server)?;
            format!(
                "{}/v1/executions/{execution}/artifacts/trace.bin",
                server.url
            )
        }
    };
    let mut put = curl(&server);
    put.arg("--upload-file").arg(file).arg(url);
    let time = timed(&mut put)?;
    let memory_mib = server.memory_mib()?;
    drop(server);
    fs::remove_dir_all(&directory)?;
    Ok((time, memory_mib))
}

fn timed(command: &mut Command) -> Result<Duration> {
    settle()?;
    let watch = stopwatch();
    read(command)?;
    Ok(watch.elapsed())
}

/// Opens an execution.
fn execution(server: &Server) -> Result<String> {
    let mut open = curl(server);
    open.args(["--header", "Content-Type: application/json", "--data"])
        .arg(r#"{"organization":"acme","project":"web","runner_type":"bench"}"#)
        .arg(format!("{}/v1/executions", server.url));
    let answer: Value = serde_json::from_str(&read(&mut open)?)?;
    let id = answer.get("execution_id").and_then(Value::as_str);
    Ok(id.ok_or("no execution was opened")?.to_owned())
}

fn curl(server: &Server) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--fail-with-body", "--silent", "--show-error", "--header"]);
    // rclone takes a token that it does not know for a signature that is wrong.
    match server.kind {
        Kind::Rclone => curl.arg("Content-Type: application/octet-stream"),
        Kind::Runpack | Kind::Spooling => {
            curl.arg(format!("Authorization: Bearer {}", server.token))
        }
    };
    curl
}
