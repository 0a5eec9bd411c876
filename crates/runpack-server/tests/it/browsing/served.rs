//! A whole server on loopback, over a directory, and those who send to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use runpack_core::digest::Digest;
use runpack_core::manifest::{Producer, Subject};
use runpack_core::pack::{NewArtifact, PackDraft};
use runpack_core::store::{BytesSource, FileStore};
use runpack_core::time::FixedClock;
use runpack_server::access::{Access, Limits, NewToken};
use runpack_server::audit::AuditLog;
use runpack_server::links::Links;
use runpack_server::listen::{ListenSettings, Transport, serve};
use runpack_server::metrics::Metrics;
use runpack_server::record::OnConflict;
use runpack_server::service::{Keeper, Parts, Service, ServiceLimits};
use runpack_testing::{block_on, scratch};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::bucket::Bucket;
use super::exchange;

/// The server's time: it stands still, so that days are known.
pub(super) const NOW: &str = "2026-11-20T12:00:00Z";

pub(super) struct Served {
    address: SocketAddr,
    pub(super) token: NewToken,
    directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(super) fn start() -> Self {
        Self::over(None)
    }

    /// Over a store that signs URLs so.
    pub(super) fn over(links: Option<Arc<Bucket>>) -> Self {
        let (directory, token) = (scratch(), NewToken::generate().unwrap());
        let policy = format!(
            "tokens:\n  - name: ann\n    sha256: {}\n    grants: [{{organization: acme, project: \"*\", may: [read, write]}}]\n",
            token.sha256()
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let below = directory.path().to_owned();
        let thread = std::thread::spawn(move || {
            block_on(async {
                let service = service(&below, &policy, links).await;
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let (settings, shutdown) = (ListenSettings::default(), async {
                    let _ = stopped.await;
                });
                let app = service.router();
                serve(
                    listener,
                    Transport::Plain,
                    app,
                    settings,
                    Arc::default(),
                    shutdown,
                )
                .await
                .unwrap();
            });
        });
        Self {
            address: address.recv().unwrap(),
            token,
            directory,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(super) fn url(&self, place: &str) -> String {
        format!("http://{}{place}", self.address)
    }

    /// Where the store keeps what it has.
    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(super) fn send(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> Value {
        let bearer = format!("Bearer {}", self.token.secret());
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", media_type),
        ];
        let (status, answer) = exchange(self.address, method, path, &headers, body);
        let shown = String::from_utf8_lossy(&answer);
        assert!((200..300).contains(&status), "{method} {path}: {shown}");
        serde_json::from_slice(&answer).unwrap()
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        let bytes = serde_json::to_vec(body).unwrap();
        self.send("POST", path, "application/json", &bytes)
    }

    pub(super) fn append(&self, execution: &str, text: &str) {
        self.append_bytes(execution, text.as_bytes());
    }

    pub(super) fn append_bytes(&self, execution: &str, bytes: &[u8]) {
        let path = format!("/v1/executions/{execution}/logs/stdout");
        self.send("POST", &path, "text/plain", bytes);
    }

    /// A pack of a run of `acme`, with these artifacts: name, title, bytes.
    pub(super) fn pack(&self, run_id: &str, artifacts: &[(&str, Option<&str>, &[u8])]) -> String {
        let subject = Subject::Run {
            tenant: "acme".parse().unwrap(),
            namespace: "prod".parse().unwrap(),
            scenario: "loan".parse().unwrap(),
            run_id: run_id.parse().unwrap(),
            spec_hash: format!("sha256:{}", Digest::of(b"spec")).parse().unwrap(),
        };
        let mut draft = PackDraft::new(subject, NOW.parse().unwrap(), producer());
        for (name, title, bytes) in artifacts {
            let mut artifact = NewArtifact::new(
                name.parse().unwrap(),
                "report".parse().unwrap(),
                "text/html".parse().unwrap(),
                Arc::new(BytesSource(Bytes::copy_from_slice(bytes))),
            );
            artifact.title = title.map(|title| title.parse().unwrap());
            draft.add(artifact);
        }
        let committed = block_on(async {
            let store = Arc::new(FileStore::open(&self.root()).await.unwrap());
            let staged = draft.stage(store).await.unwrap();
            staged.commit().await.unwrap()
        });
        committed.manifest.pack_id().to_string()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn producer() -> Producer {
    Producer {
        name: "runpack".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    }
}

async fn service(below: &Path, policy: &str, links: Option<Arc<Bucket>>) -> Arc<Service> {
    let clock = Arc::new(FixedClock(NOW.parse().unwrap()));
    let root = below.join("store");
    let store = Arc::new(FileStore::create(&root).await.unwrap());
    let parts = Parts {
        store: store.clone(),
        writing: store.clone(),
        keeper: Some(Keeper {
            store: store.clone(),
            housekeeping: store,
        }),
        links: links.map(|links| -> Arc<dyn Links> { links }),
        staging: &below.join("staging"),
        access: Arc::new(Access::parse(policy, clock.clone(), Limits::default()).unwrap()),
        audit: Arc::new(AuditLog::open(&below.join("audit"), "a", clock.clone()).unwrap()),
        metrics: Metrics::new(),
        clock,
        producer: producer(),
        on_conflict: OnConflict::default(),
        backlog: None,
        on_commit: None,
        limits: ServiceLimits::default(),
    };
    Service::new(parts).unwrap()
}
