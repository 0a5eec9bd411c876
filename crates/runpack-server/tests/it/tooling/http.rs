//! Over sockets: the caller is who the token says.

use std::net::SocketAddr;

use runpack_server::access::{Access, Limits as AccessLimits, NewToken};
use runpack_server::audit::Outcome;
use runpack_server::listen::{Connections, ListenError, ListenSettings, Transport, serve};
use runpack_server::mcp::router;
use runpack_server::metrics::Metrics;
use runpack_server::record::OnConflict;
use runpack_server::service::{Parts, Service, ServiceLimits};
use runpack_testing::block_on;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;

/// A service on loopback.
struct Served {
    desk: Desk,
    address: SocketAddr,
    /// May do everything in `acme`.
    writer: NewToken,
    /// May read in `acme/test`.
    reader: NewToken,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ListenError>>,
}

/// An answer.
struct Got {
    status: u16,
    body: Value,
}

impl Served {
    async fn new() -> Self {
        let desk = Desk::new().await;
        let (writer, reader) = (NewToken::generate().unwrap(), NewToken::generate().unwrap());
        let policy = format!(
            "tokens:\n\
             - {{name: writer, sha256: \"{}\", grants: [{{organization: acme, project: \"*\", may: [read, write]}}]}}\n\
             - {{name: reader, sha256: \"{}\", grants: [{{organization: acme, project: test, may: [read]}}]}}\n",
            writer.sha256(),
            reader.sha256()
        );
        let access = Access::parse(&policy, clock(), AccessLimits::default()).unwrap();
        let service = Service::new(Parts {
            store: Arc::clone(&desk.store) as Arc<dyn Store>,
            writing: Arc::clone(&desk.store) as Arc<dyn Store>,
            keeper: None,
            links: None,
            staging: &desk.dir.path().join("staging"),
            access: Arc::new(access),
            audit: Arc::clone(&desk.audit),
            metrics: Metrics::new(),
            clock: clock(),
            producer: producer(),
            on_conflict: OnConflict::Refuse,
            backlog: None,
            on_commit: None,
            limits: ServiceLimits::default(),
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = serve(
            listener,
            Transport::Plain,
            service.router().merge(router(service)),
            ListenSettings::default(),
            Arc::<Connections>::default(),
            async { stopped.await.unwrap_or_default() },
        );
        Self {
            desk,
            address,
            writer,
            reader,
            stop,
            task: tokio::spawn(serving),
        }
    }

    async fn raw(&self, head: &str, body: &[u8]) -> Got {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{head}Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that refuses early may close before it has read all.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Got {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    async fn post(&self, token: Option<&NewToken>, more: &str, body: &[u8]) -> Got {
        let token = token.map_or(String::new(), |token| {
            format!("Authorization: Bearer {}\r\n", token.secret())
        });
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{token}{more}",
            self.address
        );
        self.raw(&head, body).await
    }

    async fn ask(&self, token: &NewToken, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let got = self
            .post(Some(token), "", body.to_string().as_bytes())
            .await;
        assert_eq!(
            (got.status, &got.body["id"]),
            (200, &json!(7)),
            "{}",
            got.body
        );
        got.body
    }

    async fn call(&self, token: &NewToken, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.ask(token, "tools/call", &params).await["result"].take()
    }

    async fn stop(self) -> Desk {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.desk.audit.close().await;
        self.desk
    }
}

#[test]
fn a_run_is_exported_verified_and_listed_without_a_session() {
    block_on(async {
        let served = Served::new().await;
        let hello = served.ask(&served.writer, "initialize", &hello()).await;
        assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
        let done_so = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(
            served.post(Some(&served.writer), "", done_so).await.status,
            202
        );
        let listed = served.ask(&served.writer, "tools/list", &json!({})).await;
        assert!(!listed.to_string().contains("\"path\""), "{listed}");

        let exported = done(
            served
                .call(&served.writer, "runpack_export", &run_42())
                .await,
        );
        let pack_id = exported["pack_id"].as_str().unwrap().to_owned();
        assert_eq!(exported["place"], format!("/v1/packs/{pack_id}"));
        let asked = json!({"pack_id": pack_id});
        let verified = done(served.call(&served.writer, "runpack_verify", &asked).await);
        assert_eq!(verified["verdict"], "valid");
        let asked = json!({"tenant": "acme"});
        let listed = done(served.call(&served.writer, "runpack_list", &asked).await);
        assert_eq!(listed["packs"][0]["pack_id"], pack_id);
        let again = done(
            served
                .call(&served.writer, "runpack_export", &run_42())
                .await,
        );
        assert_eq!(again["outcome"], "again");

        // The newest protocol has no handshake: each request says what it speaks.
        let params = json!({"name": "runpack_list", "arguments": {"tenant": "acme"}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "0"},
        }});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let more = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: runpack_list\r\n";
        let got = served
            .post(Some(&served.writer), more, body.to_string().as_bytes())
            .await;
        assert_eq!(
            got.body["result"]["structuredContent"]["packs"][0]["pack_id"],
            pack_id
        );

        let desk = served.stop().await;
        let lines: Vec<_> = desk
            .entries()
            .into_iter()
            .map(|entry| (entry.caller.unwrap(), entry.action, entry.outcome))
            .collect();
        let line = |action: &str| {
            (
                "token:writer".to_owned(),
                action.to_owned(),
                Outcome::Accepted,
            )
        };
        assert_eq!(
            lines,
            [line("pack.write"), line("pack.verify"), line("pack.write")]
        );
    });
}

#[test]
fn c07_nobody_without_a_token_gets_to_the_tools() {
    block_on(async {
        let served = Served::new().await;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
        assert_eq!(served.post(None, "", body.as_bytes()).await.status, 401);
        let stranger = NewToken::generate().unwrap();
        assert_eq!(
            served
                .post(Some(&stranger), "", body.as_bytes())
                .await
                .status,
            401
        );
        let get = format!("GET /mcp HTTP/1.1\r\nHost: {}\r\n", served.address);
        assert_eq!(served.raw(&get, b"").await.status, 401);
        let desk = served.stop().await;
        let entries = desk.entries();
        assert_eq!(entries.len(), 3, "{entries:?}");
        assert!(
            entries
                .iter()
                .all(|entry| entry.outcome == Outcome::Refused)
        );
    });
}

#[test]
fn c24_a_call_out_of_scope_is_refused_and_written_down() {
    block_on(async {
        let served = Served::new().await;
        let pack = done(
            served
                .call(&served.writer, "runpack_export", &run_42())
                .await,
        );
        let reader = &served.reader;
        refused(
            &served.call(reader, "runpack_export", &run_42()).await,
            "forbidden",
        );
        let mut own = run_42();
        own["namespace"] = "test".into();
        refused(
            &served.call(reader, "runpack_export", &own).await,
            "forbidden",
        );
        let asked = json!({"pack_id": pack["pack_id"]});
        let hidden = refused(
            &served.call(reader, "runpack_verify", &asked).await,
            "not-found",
        );
        let asked = json!({"pack_id": format!("sha256:{}", "0".repeat(64))});
        let missing = refused(
            &served.call(reader, "runpack_verify", &asked).await,
            "not-found",
        );
        assert!(!hidden.contains("acme"), "{hidden}");
        assert_eq!(hidden.lines().last(), missing.lines().last());
        let asked = json!({"tenant": "acme"});
        refused(
            &served.call(reader, "runpack_list", &asked).await,
            "not-found",
        );
        let desk = served.stop().await;
        assert_eq!(desk.manifests(), 1);
        let refusals: Vec<_> = desk.entries().into_iter().skip(1).collect();
        assert_eq!(refusals.len(), 5);
        for entry in refusals {
            assert_eq!(entry.outcome, Outcome::Refused);
            assert_eq!(entry.caller.as_deref(), Some("token:reader"));
            assert!(entry.request.is_some() && entry.detail.contains_key("peer"));
        }
    });
}

#[test]
fn a_page_of_another_host_calls_nothing() {
    block_on(async {
        let served = Served::new().await;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
        let (ip, port) = (served.address.ip(), served.address.port());
        for (origin, status) in [
            (format!("Origin: http://{ip}:{port}\r\n"), 200),
            (format!("Origin: https://{ip}:{port}\r\n"), 200),
            (format!("Origin: http://{ip}\r\n"), 403),
            (format!("Origin: http://evil.example:{port}\r\n"), 403),
            (format!("Origin: http://{ip}.evil.example:{port}\r\n"), 403),
            (format!("Origin: ftp://{ip}:{port}\r\n"), 403),
            ("Origin: null\r\n".to_owned(), 403),
            ("Origin: \r\n".to_owned(), 403),
            (
                format!("Origin: http://{ip}:{port}\r\nOrigin: http://evil.example\r\n"),
                403,
            ),
        ] {
            let got = served
                .post(Some(&served.writer), &origin, body.as_bytes())
                .await;
            assert_eq!(got.status, status, "{origin}");
        }
    });
}

#[test]
fn c27_what_is_no_message_is_refused_whole() {
    block_on(async {
        let served = Served::new().await;
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(99), "]".repeat(99));
        for body in [
            "",
            "{\"jsonrpc\":\"2.0\",",
            "[]",
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"method\":\"tools/list\"}",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"runpack_list\",\
             \"arguments\":{\"tenant\":\"acme\",\"tenant\":\"other\"}}}",
            &deep,
        ] {
            let got = served.post(Some(&served.writer), "", body.as_bytes()).await;
            assert_eq!(
                (got.status, &got.body["error"]["code"]),
                (400, &json!(-32700)),
                "{body}"
            );
        }
        let unknown = json!({"name": "runpack_delete"});
        let unknown = served.ask(&served.writer, "tools/call", &unknown).await;
        assert_eq!(unknown["error"]["code"], -32602);
        let get = format!(
            "GET /mcp HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n",
            served.writer.secret()
        );
        assert_eq!(served.raw(&get, b"").await.status, 405);
        let text = "Content-Encoding: gzip\r\n";
        assert_eq!(
            served.post(Some(&served.writer), text, b"{}").await.status,
            415
        );
    });
}

#[test]
fn c01_a_message_that_is_too_large_is_not_read() {
    block_on(async {
        let served = Served::new().await;
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 17000000\r\n\
             Accept: application/json, text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n",
            served.writer.secret()
        );
        // Not one byte of it is sent.
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 413");

        // What fits the message and not the tool is told by the tool.
        let mut asked = run_42();
        asked["artifacts"][0]["text"] = "x".repeat((10 << 20) + 1).into();
        refused(
            &served.call(&served.writer, "runpack_export", &asked).await,
            "too-large",
        );
        asked["artifacts"][0]["text"] = "x".repeat((10 << 20) - 4).into();
        done(served.call(&served.writer, "runpack_export", &asked).await);
    });
}
