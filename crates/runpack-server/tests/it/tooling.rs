//! Tools for agents, as a client sees them: JSON-RPC written by hand, over pipes and over sockets.

mod http;
mod paths;
mod stdio;

use std::path::Path;
use std::sync::Arc;

use runpack_core::limits::Limits;
use runpack_core::manifest::Producer;

use runpack_core::store::{FileStore, Store};
use runpack_core::time::FixedClock;
use runpack_server::access::Caller;
use runpack_server::audit::{AuditLog, Entry, check_each};
use runpack_server::mcp::{McpError, ToolLimits, ToolParts, Tools, operator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock("2026-11-20T12:00:00Z".parse().unwrap()))
}

fn producer() -> Producer {
    Producer {
        name: "runpack-test".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    }
}

/// A place with a store, a root of paths and an audit log.
struct Desk {
    dir: TempDir,
    store: Arc<FileStore>,
    audit: Arc<AuditLog>,
    caller: Caller,
    limits: ToolLimits,
}

impl Desk {
    async fn new() -> Self {
        let dir = runpack_testing::scratch();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let store = FileStore::create(&dir.path().join("store")).await.unwrap();
        let audit = AuditLog::open(&dir.path().join("audit"), "one", clock()).unwrap();
        Self {
            dir,
            store: Arc::new(store),
            audit: Arc::new(audit),
            caller: operator(None, None),
            limits: ToolLimits::default(),
        }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    fn tools(&self, root: Option<&Path>) -> Result<Tools, McpError> {
        self.tools_on(Arc::clone(&self.store) as Arc<dyn Store>, root)
    }

    fn tools_on(&self, store: Arc<dyn Store>, root: Option<&Path>) -> Result<Tools, McpError> {
        Tools::new(ToolParts {
            store,
            keeper: None,
            links: None,
            caller: self.caller.clone(),
            root,
            audit: Some(Arc::clone(&self.audit)),
            on_commit: None,
            clock: clock(),
            producer: producer(),
            packs: Limits::default(),
            limits: self.limits.clone(),
        })
    }

    /// A client that has shaken hands.
    async fn wire(&self) -> Wire {
        let mut wire = Wire::start(self.tools(Some(&self.root())).unwrap());
        wire.initialize().await;
        wire
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        check_each(&self.dir.path().join("audit"), |entry, _| {
            entries.push(entry.clone());
        })
        .unwrap();
        entries
    }

    /// The manifests that are in the store.
    fn manifests(&self) -> usize {
        fn count(dir: &Path) -> usize {
            let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
            entries
                .map(|entry| {
                    if entry.file_type().unwrap().is_dir() {
                        count(&entry.path())
                    } else {
                        usize::from(entry.file_name() == "manifest.json")
                    }
                })
                .sum()
        }
        count(&self.dir.path().join("store"))
    }
}

/// The other end of a pipe to a server.
struct Wire {
    output: BufReader<ReadHalf<DuplexStream>>,
    input: Option<WriteHalf<DuplexStream>>,
    serving: JoinHandle<Result<(), McpError>>,
    id: u64,
}

impl Wire {
    fn start(tools: Tools) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(theirs);
        let serving = tokio::spawn(tools.serve_on(input, output));
        let (output, input) = tokio::io::split(ours);
        Self {
            output: BufReader::new(output),
            input: Some(input),
            serving,
            id: 0,
        }
    }

    async fn line(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
        input.write_all(b"\n").await.unwrap();
    }

    async fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn send(&mut self, method: &str, params: &Value) -> u64 {
        self.id = self.id.checked_add(1).unwrap();
        let id = self.id;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.line(&request.to_string()).await;
        id
    }

    async fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params).await;
        let answer = self.answer().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn initialize(&mut self) -> Value {
        let answer = self.ask("initialize", &hello()).await;
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.line(&done.to_string()).await;
        answer
    }

    /// The result of a tool.
    async fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let mut answer = self.ask("tools/call", &params).await;
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].take()
    }

    /// The client goes away.
    async fn close(mut self) -> Result<(), McpError> {
        self.input.take().unwrap().shutdown().await.unwrap();
        self.serving.await.unwrap()
    }
}

fn hello() -> Value {
    json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "by-hand", "version": "0"},
    })
}

/// An export of one small run.
fn run_42() -> Value {
    json!({
        "tenant": "acme",
        "namespace": "prod",
        "scenario": "loan-approval",
        "run_id": "run-42",
        "spec": {"model": "m-1", "budget": 3},
        "artifacts": [
            {"name": "decisions.json", "kind": "decision-log", "media_type": "application/json",
             "text": "[{\"approved\":true}]"},
            {"name": "trace.bin", "base64": "AAEC/w=="},
        ],
        "labels": {"commit": "4f2a"},
    })
}

/// That a tool did it; the structured answer.
fn done(mut result: Value) -> Value {
    assert_ne!(result["isError"], true, "{result}");
    result["structuredContent"].take()
}

/// That a tool did not do it for this reason; what the agent is told.
fn refused(result: &Value, code: &str) -> String {
    assert_eq!(result["isError"], true, "{result}");
    let text = text(result);
    assert!(text.contains(&format!("code=`{code}`")), "{code}: {text}");
    assert!(text.contains("\nnext: "), "{text}");
    text
}

fn text(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
