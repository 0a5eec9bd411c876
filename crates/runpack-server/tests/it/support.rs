//! A real server on loopback, and somebody who talks to it.
//!
//! The server runs in the process of the test, over whatever store the test gives it, with an audit log of its own. The
//! client keeps its connections and tells of every answer what came of it, also of one that broke off.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "a failed assertion is how a test speaks, and not every test needs all of it"
)]

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use runpack_core::bundle::{BundleWriter, Compression};
use runpack_core::commitment::ChunkHasher;
use runpack_core::digest::Digest;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Labels, Manifest, Producer, Subject};
use runpack_core::store::{FileStore, Housekeeping, Store};
use runpack_core::time::{Clock, Timestamp};
use runpack_server::access::{self, Access};
use runpack_server::audit::{AuditLog, Entry, check_each};
use runpack_server::links::Links;
use runpack_server::listen::{Connections, ListenError, ListenSettings, Transport, serve};
use runpack_server::metrics::Metrics;
use runpack_server::record::OnConflict;
use runpack_server::service::{Keeper, Parts, Service, ServiceLimits};
use runpack_testing::scratch;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// 2026-11-20T12:00:00Z.
pub(crate) const NOW: u64 = 1_795_176_000;
/// When something that must happen has not.
pub(crate) const TOO_LATE: Duration = Duration::from_mins(2);
/// An id of an execution that nobody opens.
pub(crate) const NO_EXECUTION: &str = "01JD3M7Z9X8QWERTYASDFGHJKZ";

/// A clock that is set by the test.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicU64);

impl SetClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(NOW)))
    }

    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A grant of a token: organization, project or `*`, and `r`, `w` or `rw`.
pub(crate) type GrantText = (&'static str, &'static str, &'static str);

/// The token of this name. It is no secret: it is in every policy of these tests.
pub(crate) fn token(name: &str) -> String {
    format!("rp_test-token-of-{name}")
}

/// A policy in which these have these grants.
pub(crate) fn policy(tokens: &[(&str, &[GrantText])]) -> String {
    use fmt::Write as _;
    let mut text = "tokens:\n".to_owned();
    for (name, grants) in tokens {
        let sha256 = Digest::of(token(name).as_bytes());
        writeln!(
            text,
            "  - name: {name}\n    sha256: \"{sha256}\"\n    grants:"
        )
        .unwrap();
        for (organization, project, verbs) in *grants {
            let may = match *verbs {
                "r" => "read",
                "w" => "write",
                _ => "read, write",
            };
            writeln!(
                text,
                "      - {{organization: {organization}, project: \"{project}\", may: [{may}]}}"
            )
            .unwrap();
        }
    }
    text
}

/// What a server is made of.
pub(crate) struct Setup {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keeper: Option<Arc<dyn Housekeeping>>,
    pub(crate) links: Option<Arc<dyn Links>>,
    pub(crate) policy: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: ServiceLimits,
    pub(crate) on_conflict: OnConflict,
    pub(crate) listen: ListenSettings,
}

impl Setup {
    /// Over this store, for `ci`, who may do everything in `acme`.
    pub(crate) fn over<S: Store + Housekeeping + 'static>(store: &Arc<S>) -> Self {
        Self {
            store: store.clone(),
            keeper: Some(store.clone()),
            links: None,
            policy: policy(&[
                ("ci", &[("acme", "*", "rw")]),
                ("reader", &[("acme", "*", "r")]),
                ("other", &[("other", "*", "rw")]),
            ]),
            clock: SetClock::new(),
            limits: unhurried(),
            on_conflict: OnConflict::default(),
            listen: ListenSettings::default(),
        }
    }
}

/// Nobody is held back by how often they ask.
fn unhurried() -> ServiceLimits {
    let mut limits = ServiceLimits::default();
    let many = NonZeroU32::new(1_000_000).unwrap();
    limits.rates.per_second = many;
    limits.rates.burst = many;
    limits.rates.refusals_per_second = many;
    limits
}

/// A store in a directory, which goes with it.
pub(crate) struct Files {
    pub(crate) store: Arc<FileStore>,
    directory: TempDir,
}

impl Files {
    pub(crate) async fn new() -> Self {
        let directory = scratch();
        let store = FileStore::create(&directory.path().join("store")).await;
        let store = Arc::new(store.unwrap());
        Self { store, directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// All objects, by key; what the store keeps for its own writing is none.
    pub(crate) fn keys(&self) -> Vec<String> {
        let root = self.path();
        let mut keys: Vec<_> = walk(&root)
            .into_iter()
            .map(|path| {
                let key = path.strip_prefix(&root).unwrap();
                key.to_str().unwrap().to_owned()
            })
            .filter(|key| !key.starts_with("_runpack/tmp/"))
            .collect();
        keys.sort();
        keys
    }

    /// The only file whose path ends so.
    fn file(&self, suffix: &str) -> PathBuf {
        let files = walk(&self.path());
        let mut named = files
            .into_iter()
            .filter(|path| path.to_str().unwrap().ends_with(suffix));
        let found = named.next().unwrap_or_else(|| panic!("no {suffix}"));
        assert_eq!(named.next(), None, "more than one {suffix}");
        found
    }

    /// Changes one byte of the only file whose path ends so: what an enemy at the disk does.
    pub(crate) fn damage(&self, suffix: &str, at: usize) {
        let mut bytes = std::fs::read(self.file(suffix)).unwrap();
        bytes[at] ^= 1;
        self.replace(suffix, &bytes);
    }

    /// Puts other bytes into it.
    pub(crate) fn replace(&self, suffix: &str, bytes: &[u8]) {
        let path = self.file(suffix);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn remove(&self, suffix: &str) {
        std::fs::remove_file(self.file(suffix)).unwrap();
    }
}

/// All files below a directory.
pub(crate) fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// A server on loopback.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) service: Arc<Service>,
    audit_directory: PathBuf,
    directory: TempDir,
    stop: watch::Sender<bool>,
    serving: JoinHandle<Result<(), ListenError>>,
    /// Ends what goes on beside requests, after the last of them.
    end: watch::Sender<bool>,
    helping: JoinHandle<()>,
    client: Pooled<HttpConnector, Body>,
}

impl Server {
    pub(crate) async fn start(setup: Setup) -> Self {
        let directory = scratch();
        let audit_directory = directory.path().join("audit");
        std::fs::create_dir_all(&audit_directory).unwrap();
        let audit = AuditLog::open(&audit_directory, "replica-1", Arc::clone(&setup.clock));
        let audit = Arc::new(audit.unwrap());
        let access = Access::parse(
            &setup.policy,
            Arc::clone(&setup.clock),
            access::Limits::default(),
        );
        let service = Service::new(Parts {
            store: Arc::clone(&setup.store),
            writing: Arc::clone(&setup.store),
            keeper: setup.keeper.map(|housekeeping| Keeper {
                store: setup.store,
                housekeeping,
            }),
            links: setup.links,
            staging: &directory.path().join("staging"),
            access: Arc::new(access.unwrap()),
            audit: Arc::clone(&audit),
            metrics: Metrics::new(),
            clock: setup.clock,
            producer: producer(),
            on_conflict: setup.on_conflict,
            backlog: None,
            on_commit: None,
            limits: setup.limits,
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let until = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|is_over| *is_over).await;
        };
        let serving = tokio::spawn(serve(
            listener,
            Transport::Plain,
            service.router(),
            setup.listen,
            Arc::<Connections>::default(),
            until(stopped),
        ));
        let (end, ended) = watch::channel(false);
        let helping = tokio::spawn(Arc::clone(&service).run(until(ended)));
        Self {
            address,
            audit,
            service,
            audit_directory,
            directory,
            stop,
            serving,
            end,
            helping,
            client: client(),
        }
    }

    /// Over a directory of its own.
    pub(crate) async fn over_files() -> (Self, Files) {
        let files = Files::new().await;
        (Self::start(Setup::over(&files.store)).await, files)
    }

    pub(crate) async fn tell(&self, ask: Ask) -> Answer {
        tell(&self.client, self.address, ask).await
    }

    /// Asks the interface for operators.
    pub(crate) async fn tell_operators(&self, path: &str) -> Answer {
        let router = TowerToHyperService::new(self.service.admin_router());
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (parts, body) = router.call(request).await.unwrap().into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
            is_cut: false,
        }
    }

    /// Where bodies wait.
    pub(crate) fn staging(&self) -> PathBuf {
        self.directory.path().join("staging")
    }

    /// Begins to stop; what is under way is finished.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops, and gives the lines of the audit log.
    pub(crate) async fn end(self) -> Vec<Entry> {
        self.stop();
        drop(self.client);
        in_time(self.serving).await.unwrap().unwrap();
        self.end.send_replace(true);
        in_time(self.helping).await.unwrap();
        self.audit.close().await;
        entries(&self.audit_directory)
    }
}

/// The lines of an audit log, every one held against the one before.
pub(crate) fn entries(directory: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    check_each(directory, |entry, _| entries.push(entry.clone())).unwrap();
    entries
}

pub(crate) fn producer() -> Producer {
    Producer {
        name: "runpack-server".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    }
}

pub(crate) fn client() -> Pooled<HttpConnector, Body> {
    Pooled::builder(TokioExecutor::new()).build_http()
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TOO_LATE, future)
        .await
        .expect("it takes too long")
}

/// A request to be.
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

pub(crate) fn ask(method: &str, path: impl Into<String>) -> Ask {
    Ask {
        method: method.parse().unwrap(),
        path: path.into(),
        headers: HeaderMap::new(),
        body: Body::empty(),
    }
}

pub(crate) fn get(path: impl Into<String>) -> Ask {
    ask("GET", path).by("ci")
}

pub(crate) fn post(path: impl Into<String>) -> Ask {
    ask("POST", path).by("ci")
}

impl Ask {
    /// With the token of this name, and no other.
    pub(crate) fn by(self, name: &str) -> Self {
        self.header("authorization", &format!("Bearer {}", token(name)))
    }

    /// Nobody says who asks.
    pub(crate) fn unknown(mut self) -> Self {
        self.headers.remove(header::AUTHORIZATION);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.bytes("application/json", value.to_string())
    }

    pub(crate) fn bytes(mut self, media_type: &str, bytes: impl Into<Bytes>) -> Self {
        self.body = Body::from(bytes.into());
        self.header("content-type", media_type)
    }

    /// A body of no announced length.
    pub(crate) fn chunked(mut self, media_type: &str, pieces: Vec<Bytes>) -> Self {
        let pieces = pieces.into_iter().map(Ok::<_, std::convert::Infallible>);
        self.body = Body::from_stream(futures_util::stream::iter(pieces));
        self.header("content-type", media_type)
    }

    /// With `Repr-Digest` of these bytes.
    pub(crate) fn digest(self, bytes: &[u8]) -> Self {
        let digest = STANDARD.encode(Digest::of(bytes).as_bytes());
        self.header("repr-digest", &format!("sha-256=:{digest}:"))
    }
}

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether it broke off before its end.
    pub(crate) is_cut: bool,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert!(!self.is_cut, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A text member of the JSON body.
    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> String {
        let value = self.value();
        value[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {value}"))
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The code of a problem, which must be one in every respect.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let value = self.value();
        assert_eq!(value["status"], self.status, "{self:?}");
        assert!(self.header("x-request-id").is_some(), "{self:?}");
        self.text("code")
    }
}

/// Asks, and takes all that comes.
pub(crate) async fn try_tell(
    client: &Pooled<HttpConnector, Body>,
    address: SocketAddr,
    ask: Ask,
) -> Result<Answer, hyper_util::client::legacy::Error> {
    let mut request = Request::builder()
        .method(ask.method)
        .uri(format!("http://{address}{}", ask.path))
        .body(ask.body)
        .unwrap();
    *request.headers_mut() = ask.headers;
    let (parts, mut body) = in_time(client.request(request)).await?.into_parts();
    let mut bytes = Vec::new();
    let mut is_cut = false;
    while let Some(frame) = in_time(body.frame()).await {
        let Ok(frame) = frame else {
            is_cut = true;
            break;
        };
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: bytes.into(),
        is_cut,
    })
}

pub(crate) async fn tell(
    client: &Pooled<HttpConnector, Body>,
    address: SocketAddr,
    ask: Ask,
) -> Answer {
    let what = format!("{} {}", ask.method, ask.path);
    let told = try_tell(client, address, ask).await;
    told.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

/// A connection on which a test writes what it likes.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) async fn to(server: &Server) -> Self {
        Self(TcpStream::connect(server.address).await.unwrap())
    }

    /// Sends a head with the token of `ci`; its lines end as lines of HTTP do.
    pub(crate) async fn head(&mut self, first: &str, lines: &[&str]) {
        let mut head = format!(
            "{first} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n",
            token("ci")
        );
        for line in lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.0.write_all(head.as_bytes()).await.unwrap();
    }

    /// Waits until the server wants the body, which it says where `Expect: 100-continue` was sent: then a handler is
    /// past all that it does before.
    pub(crate) async fn until_body_is_wanted(&mut self) {
        let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut told = vec![0; expected.len()];
        in_time(self.0.read_exact(&mut told)).await.unwrap();
        assert_eq!(told, expected, "{}", String::from_utf8_lossy(&told));
    }

    /// All that comes until the server closes the connection.
    pub(crate) async fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        // What came before a reset is kept.
        let _ = in_time(self.0.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Waits for what must come to be.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    in_time(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The envelope of a record of `acme/web/build`.
pub(crate) fn record(run_id: &str) -> Value {
    record_of("acme", "web", run_id)
}

pub(crate) fn record_of(organization: &str, project: &str, run_id: &str) -> Value {
    json!({
        "organization": organization, "project": project, "service": "build", "run_id": run_id,
        "artifact": {"passed": 3, "of": run_id}, "diff": {"added": [run_id]},
        "commit_sha": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        "generated_at": "2026-11-20T11:59:00Z", "metadata": {"build": "17"},
    })
}

/// What opens an execution of `acme/web`.
pub(crate) fn opening() -> Value {
    opening_of("acme", "web")
}

pub(crate) fn opening_of(organization: &str, project: &str) -> Value {
    json!({
        "organization": organization, "project": project, "runner_type": "hil-bench", "suite": "smoke",
    })
}

/// A bundle with its manifest.
pub(crate) struct Bundle {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Bytes,
}

impl Bundle {
    /// Of a run, with these artifacts beside its specification.
    pub(crate) fn of_run(
        tenant: &str,
        namespace: &str,
        run_id: &str,
        artifacts: &[(&str, &[u8])],
    ) -> Self {
        let spec: &[u8] = b"{\"spec\":1}";
        let subject = Subject::Run {
            tenant: tenant.parse().unwrap(),
            namespace: namespace.parse().unwrap(),
            scenario: "loan-approval".parse().unwrap(),
            run_id: run_id.parse().unwrap(),
            spec_hash: format!("sha256:{}", Digest::of(spec)).parse().unwrap(),
        };
        let mut all = vec![("spec.json", "spec", spec)];
        all.extend(
            artifacts
                .iter()
                .map(|(name, bytes)| (*name, "trace", *bytes)),
        );
        Self::of(subject, all)
    }

    /// Of a step of a pipeline.
    pub(crate) fn of_step(tenant: &str, run_id: &str) -> Self {
        let subject = Subject::Step {
            tenant: tenant.parse().unwrap(),
            run_id: run_id.parse().unwrap(),
            step_id: "train".parse().unwrap(),
        };
        Self::of(subject, vec![("outputs/model.bin", "model", b"weights")])
    }

    fn of(subject: Subject, mut artifacts: Vec<(&str, &str, &[u8])>) -> Self {
        artifacts.sort_unstable();
        let listed = artifacts.iter().map(|(name, kind, bytes)| {
            let mut chunks = ChunkHasher::new();
            chunks.update(bytes);
            let (content, size) = chunks.finish();
            let media_type = "application/octet-stream".parse().unwrap();
            let (name, kind) = (name.parse().unwrap(), kind.parse().unwrap());
            Artifact::new(name, kind, media_type, size, content).unwrap()
        });
        let manifest = Manifest::new(
            subject,
            "2026-11-20T12:00:00Z".parse().unwrap(),
            producer(),
            listed.collect(),
            Labels::new(),
            &Limits::default(),
        )
        .unwrap();
        let mut writer = BundleWriter::new(Vec::new(), &manifest, Compression::default()).unwrap();
        for (_, _, bytes) in artifacts {
            writer.write(bytes).unwrap();
        }
        let bytes = writer.finish().unwrap().into();
        Self { manifest, bytes }
    }

    pub(crate) fn pack_id(&self) -> String {
        self.manifest.pack_id().to_string()
    }

    pub(crate) fn send(&self) -> Ask {
        post("/v1/packs").bytes("application/gzip", self.bytes.clone())
    }
}
