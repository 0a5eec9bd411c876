//! The text as a scraper reads it, and what a client can put into it: nothing.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use runpack_testing::block_on;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::spool::Standing;

/// A family: its type, whether it has help, and its samples by name and labels.
#[derive(Debug, Default)]
struct Parsed {
    kind: String,
    has_help: bool,
    samples: BTreeMap<String, f64>,
}

/// Reads the text form of `OpenMetrics`, and accepts nothing but what is used here.
fn parse(text: &str) -> BTreeMap<String, Parsed> {
    let mut families: BTreeMap<String, Parsed> = BTreeMap::new();
    let mut current = String::new();
    let body = text.strip_suffix("# EOF\n").expect("an end mark");
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().unwrap();
            let (keyword, name, rest) = (word(), word(), word());
            name.clone_into(&mut current);
            let family = families.entry(current.clone()).or_default();
            match keyword {
                "HELP" => family.has_help = rest.ends_with('.') && !rest.ends_with(".."),
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let suffix = name.strip_prefix(&current).expect(line);
        let family = families.get_mut(&current).unwrap();
        let suffixes: &[_] = match &*family.kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => panic!("{line}"),
        };
        assert!(suffixes.contains(&suffix), "{line}");
        if let Some((_, labels)) = series.split_once('{') {
            for label in labels.strip_suffix('}').unwrap().split(',') {
                let (name, value) = label.split_once('=').unwrap();
                let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                assert!(!name.is_empty(), "{line}");
                assert!(!value.unwrap().contains(['"', '\\']), "{line}");
            }
        }
        let before = family
            .samples
            .insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "{line}");
    }
    families
}

#[test]
fn each_metric_is_there_with_help_and_type() {
    let metrics = Metrics::new();
    metrics.kept(Kind::Artifact, 5000, Duration::from_millis(20));
    metrics.not_kept(Kind::Record, "bad-body");
    metrics.answered(&Method::GET, None, StatusCode::NOT_FOUND, Duration::ZERO);
    metrics.watch_connections(Arc::default());
    metrics.store_failed("unavailable");
    metrics.watch_spool(|| Backlog {
        objects: 3,
        bytes: 1 << 33,
        oldest: None,
        waited: Duration::from_millis(1500),
        has_room: true,
        conflicts: 2,
        store: Standing::Reachable,
        last_error: None,
    });
    metrics.watch_audit(|| Some(41));
    let families = parse(&metrics.encode());
    for (name, kind, series, value) in [
        (
            "artifact_upload_duration_seconds",
            "histogram",
            r#"_count{kind="artifact"}"#,
            1.0,
        ),
        (
            "artifact_upload_duration_seconds",
            "histogram",
            r#"_bucket{le="0.025",kind="artifact"}"#,
            1.0,
        ),
        (
            "artifact_upload_duration_seconds",
            "histogram",
            r#"_count{kind="pack"}"#,
            0.0,
        ),
        (
            "artifact_size_bytes",
            "histogram",
            r#"_sum{kind="artifact"}"#,
            5000.0,
        ),
        (
            "artifact_failures",
            "counter",
            r#"_total{kind="record",reason="bad-body"}"#,
            1.0,
        ),
        (
            "http_requests",
            "counter",
            r#"_total{method="GET",route="none",status="404"}"#,
            1.0,
        ),
        (
            "http_request_duration_seconds",
            "histogram",
            r#"_count{route="none"}"#,
            1.0,
        ),
        ("http_connections_open", "gauge", "", 0.0),
        ("http_connections_refused", "counter", "_total", 0.0),
        ("http_connections_timed_out", "counter", "_total", 0.0),
        (
            "store_errors",
            "counter",
            r#"_total{class="unavailable"}"#,
            1.0,
        ),
        ("spool_backlog_objects", "gauge", "", 3.0),
        ("spool_backlog_bytes", "gauge", "", 8_589_934_592.0),
        ("spool_oldest_seconds", "gauge", "", 1.5),
        ("spool_conflicts", "counter", "_total", 2.0),
        ("audit_sequence", "gauge", "", 41.0),
        (
            "build",
            "info",
            concat!("_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"),
            1.0,
        ),
    ] {
        let family = &families[name];
        assert_eq!(family.kind, kind, "{name}");
        assert!(family.has_help, "{name}");
        let sample = family.samples.get(&format!("{name}{series}"));
        assert_eq!(sample, Some(&value), "{name}{series} {family:?}");
    }
    assert_eq!(families.len(), 15);
}

#[test]
fn what_nobody_watches_is_left_out() {
    let metrics = Metrics::new();
    metrics.watch_audit(|| None);
    let families = parse(&metrics.encode());
    assert!(families.contains_key("artifact_size_bytes"));
    assert!(
        !families
            .keys()
            .any(|name| name.contains("backlog") || name.contains("audit"))
    );
}

async fn measure(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    metrics.answered(&method, route.as_ref(), response.status(), Duration::ZERO);
    response
}

#[test]
fn c31_no_request_makes_a_label() {
    let metrics = Metrics::new();
    block_on(async {
        let router = Router::new()
            .route("/v1/records/{id}", get(async || "here"))
            .layer(from_fn_with_state(Arc::clone(&metrics), measure));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        for number in 0..50 {
            for line in [
                format!("GET /v1/records/{number}%22%7D%0Aevil_total"),
                format!("M{number} /v1/records/1"),
                format!("GET /elsewhere/{number}"),
            ] {
                let mut stream = TcpStream::connect(at).await.unwrap();
                let request = format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
            }
        }
    });
    let families = parse(&metrics.encode());
    let series: Vec<_> = families["http_requests"].samples.iter().collect();
    let one = |labels: &str| format!("http_requests_total{{{labels}}}");
    assert_eq!(
        series,
        [
            (
                &one(r#"method="GET",route="/v1/records/{id}",status="200""#),
                &50.0
            ),
            (&one(r#"method="GET",route="none",status="404""#), &50.0),
            (
                &one(r#"method="other",route="/v1/records/{id}",status="405""#),
                &50.0
            ),
        ]
    );
    assert!(!families.contains_key("evil"));
}
