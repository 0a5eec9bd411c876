//! An attack on the HTTP interface by its own document: Schemathesis makes requests of it, sound and unsound, and holds
//! every answer against what the document promises.
//!
//! The server is the example `serve` of `runpack-server`: over a directory of its own, on loopback, with a token that
//! nobody else learns. Schemathesis comes from PyPI into the project's cache; its version is fixed, and its seed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::command::{self, Result, Workspace};
use crate::servers;

const SCHEMATHESIS: &str = "schemathesis-4.32.5";
const REQUIREMENTS: &[&str] = &["schemathesis==4.32.5"];
/// What every answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance";
/// What stateful testing would follow are links that Schemathesis guesses, and it guesses wrong ones.
const PHASES: &str = "examples,coverage,fuzzing";
/// Media types that Schemathesis cannot write or read by itself, and what it must not ask for.
const HOOKS: &str = r#"
import json
import schemathesis

@schemathesis.serializer("application/gzip")
def gzip(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()

@schemathesis.deserializer("application/jsonl")
def jsonl(ctx, response):
    lines = response.content.splitlines()
    # The schema is that of one line. Without lines there is none that could be wrong.
    return json.loads(lines[0]) if lines else {"run_id": "", "received_at": "", "commit_sha": "", "diff": None}

@schemathesis.hook
def map_query(ctx, query):
    # Whoever follows a log waits for the end of its execution, and nobody brings it about.
    if query and str(query.get("follow")).lower() == "true":
        return {**query, "follow": "false"}
    return query
"#;

pub(crate) fn install(workspace: &Workspace) -> Result {
    servers::python(workspace, SCHEMATHESIS, REQUIREMENTS, &["schemathesis"])
}

pub(crate) fn run(workspace: &Workspace, examples: u32) -> Result {
    install(workspace)?;
    // With the profile and the features of the tests: nothing is built twice.
    let line = "build --quiet --profile test --workspace --all-features --example serve";
    command::run(&mut workspace.cargo(line))?;
    let directory = workspace.target.join("api");
    fs::create_dir_all(&directory)?;
    let hooks = directory.join("schemathesis_hooks.py");
    fs::write(&hooks, HOOKS)?;

    let mut serve = workspace.command(workspace.target.join("debug/examples/serve"));
    let mut server = serve.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let tried = server
        .stdout
        .take()
        .ok_or("the server has no output")
        .map_err(Into::into)
        .and_then(|output| {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            let (url, token) = line
                .trim()
                .split_once(' ')
                .ok_or("the server did not say where it is")?;
            attack(workspace, &directory, &hooks, (url, token), examples)
        });
    // Its input ends, and with it the server.
    drop(server.stdin.take());
    let status = server.wait()?;
    tried?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the server ended with {status}").into())
    }
}

fn attack(
    workspace: &Workspace,
    directory: &Path,
    hooks: &Path,
    (url, token): (&str, &str),
    examples: u32,
) -> Result {
    let python = servers::python_in(workspace, SCHEMATHESIS);
    let mut st = workspace.command(python);
    st.current_dir(directory)
        .env("SCHEMATHESIS_HOOKS", hooks)
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("{url}/openapi.json"))
        .arg("--header")
        .arg(format!("Authorization: Bearer {token}"))
        .args(["--checks", CHECKS, "--phases", PHASES])
        .args(["--max-examples", &examples.to_string()])
        .args(["--request-timeout", "30"])
        .args(["--seed", "1", "--generation-database", "none"])
        .args(["--warnings", "off", "--no-color", "--continue-on-failure"]);
    // Not printed as other commands are: the token is in it.
    println!("$ schemathesis run {url}/openapi.json");
    match command::code(&mut st)? {
        0 => Ok(()),
        code => Err(format!(
            "schemathesis ended with {code}: the failures above name their requests"
        )
        .into()),
    }
}
