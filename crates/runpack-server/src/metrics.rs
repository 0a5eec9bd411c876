//! What is counted and measured, for Prometheus.
//!
//! Invariants: nothing that a client chooses becomes a label: kinds are a type, reasons and classes are text of the
//! program, methods are those of HTTP or `other`, routes are the templates that the router matched. So neither the number
//! of series grows with what is sent, nor can a label be made to look like another line.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::listen::Connections;
pub use crate::spool::Backlog;

/// The media type of what [`Metrics::encode`] gives: `OpenMetrics` 1.0.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A record.
    Record,
    /// An artifact of an execution.
    Artifact,
    /// A part of a log.
    Log,
    /// A pack.
    Pack,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Record, Self::Artifact, Self::Log, Self::Pack];

    fn labels(self) -> KindLabels {
        let kind = match self {
            Self::Record => "record",
            Self::Artifact => "artifact",
            Self::Log => "log",
            Self::Pack => "pack",
        };
        KindLabels { kind }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: Arc<str>,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// A family of histograms, all with the same buckets.
type Histograms<S> = Family<S, Histogram, fn() -> Histogram>;

/// All that this server counts and measures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    upload_seconds: Histograms<KindLabels>,
    size_bytes: Histograms<KindLabels>,
    failures: Family<FailureLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histograms<RouteLabels>,
    store_errors: Family<ClassLabels, Counter>,
    watched: Arc<Watched>,
}

impl Metrics {
    /// Everything at nothing.
    pub fn new() -> Arc<Self> {
        let metrics = Self {
            registry: Registry::default(),
            upload_seconds: Family::new_with_constructor(upload_seconds),
            size_bytes: Family::new_with_constructor(size_bytes),
            failures: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(request_seconds),
            store_errors: Family::default(),
            watched: Arc::default(),
        };
        for kind in Kind::ALL {
            // They are there from the begin, so that a rate can be taken of the first ones.
            drop(metrics.upload_seconds.get_or_create(&kind.labels()));
            drop(metrics.size_bytes.get_or_create(&kind.labels()));
        }
        Arc::new(metrics.registered())
    }

    /// With everything in the registry. A counter's name ends in `_total`, an info's in `_info`, and a unit is appended.
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register_with_unit(
            "artifact_upload_duration",
            "How long it took until something that was sent was durable",
            Unit::Seconds,
            self.upload_seconds.clone(),
        );
        registry.register_with_unit(
            "artifact_size",
            "How large what was kept is",
            Unit::Bytes,
            self.size_bytes.clone(),
        );
        registry.register(
            "artifact_failures",
            "What was sent and not kept",
            self.failures.clone(),
        );
        registry.register(
            "http_requests",
            "Requests that were answered",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "How long it took to answer a request",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register(
            "store_errors",
            "Calls that the store did not answer as it should",
            self.store_errors.clone(),
        );
        let build = Info::new(BuildLabels {
            version: env!("CARGO_PKG_VERSION"),
        });
        registry.register("build", "What is running", build);
        registry.register_collector(Box::new(Arc::clone(&self.watched)));
        self
    }

    /// Something was kept.
    pub fn kept(&self, kind: Kind, bytes: u64, took: Duration) {
        let labels = kind.labels();
        self.upload_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        self.size_bytes.get_or_create(&labels).observe(float(bytes));
    }

    /// Something was not kept, for a reason that is text of the program: a problem's code.
    pub fn not_kept(&self, kind: Kind, reason: &'static str) {
        let kind = kind.labels().kind;
        let labels = FailureLabels { kind, reason };
        self.failures.get_or_create(&labels).inc();
    }

    /// A request was answered. `route` is what the router matched, if it matched anything.
    pub fn answered(
        &self,
        method: &Method,
        route: Option<&MatchedPath>,
        status: StatusCode,
        took: Duration,
    ) {
        let route: Arc<str> = route.map_or("none", MatchedPath::as_str).into();
        let labels = RequestLabels {
            method: method_label(method),
            route: Arc::clone(&route),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds
            .get_or_create(&RouteLabels { route })
            .observe(took.as_secs_f64());
    }

    /// The store failed, in a way whose class is text of the program.
    pub fn store_failed(&self, class: &'static str) {
        self.store_errors
            .get_or_create(&ClassLabels { class })
            .inc();
    }

    /// Asks for what is counted of connections whenever the metrics are read. Of several only the first is asked.
    pub fn watch_connections(&self, connections: Arc<Connections>) {
        let _ = self.watched.connections.set(connections);
    }

    /// Asks for the backlog of the spool, likewise.
    pub fn watch_spool(&self, read: impl Fn() -> Backlog + Send + Sync + 'static) {
        let _ = self.watched.spool.set(Box::new(read));
    }

    /// Asks for the sequence of the last line of the audit log, likewise; `None` while it is empty.
    pub fn watch_audit(&self, read: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        let _ = self.watched.audit_sequence.set(Box::new(read));
    }

    /// All of it as text, of the type [`MEDIA_TYPE`].
    pub fn encode(&self) -> String {
        let mut encoded = String::new();
        // Writing to a string does not fail, and what was begun would show by its missing end mark.
        let _ = text::encode(&mut encoded, &self.registry);
        encoded
    }
}

/// What is asked for when the metrics are read. What nobody told where to find is left out.
#[derive(Default)]
struct Watched {
    connections: OnceLock<Arc<Connections>>,
    spool: OnceLock<Box<dyn Fn() -> Backlog + Send + Sync>>,
    audit_sequence: OnceLock<Box<dyn Fn() -> Option<u64> + Send + Sync>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, unit: Option<Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            let metric =
                encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?;
            gauge.encode(metric)
        };
        if let Some(connections) = self.connections.get() {
            gauge(
                "http_connections_open",
                "Connections that are open.",
                None,
                float(connections.open()),
            )?;
        }
        if let Some(backlog) = self.spool.get().map(|read| read()) {
            gauge(
                "spool_backlog_objects",
                "Objects that the store has not taken yet.",
                None,
                float(backlog.objects),
            )?;
            gauge(
                "spool_backlog",
                "Bytes that the store has not taken yet.",
                Some(Unit::Bytes),
                float(backlog.bytes),
            )?;
            gauge(
                "spool_oldest",
                "How long the oldest of them has waited.",
                Some(Unit::Seconds),
                backlog.waited.as_secs_f64(),
            )?;
        }
        if let Some(sequence) = self.audit_sequence.get().and_then(|read| read()) {
            gauge(
                "audit_sequence",
                "The sequence of the last durable line of the audit log.",
                None,
                float(sequence),
            )?;
        }
        let mut counter = |name, help, value: u64| {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)
        };
        if let Some(connections) = self.connections.get() {
            counter(
                "http_connections_refused",
                "Connections that were closed because there were too many.",
                connections.refused(),
            )?;
            counter(
                "http_connections_timed_out",
                "Waits for a peer that were ended.",
                connections.timed_out(),
            )?;
        }
        if let Some(backlog) = self.spool.get().map(|read| read()) {
            counter(
                "spool_conflicts",
                "Objects of the spool in whose place the store has something else.",
                backlog.conflicts,
            )?;
        }
        Ok(())
    }
}

/// Up to half an hour: a large artifact over a slow line.
fn upload_seconds() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    ])
}

/// From 1 KiB to 16 GiB.
fn size_bytes() -> Histogram {
    Histogram::new(exponential_buckets(1024.0, 4.0, 13))
}

/// The buckets that Prometheus gives by default, and two for uploads.
fn request_seconds() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    ])
}

/// A method may be any token that a client makes up.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The nearest float: exact up to 2^53.
fn float(count: u64) -> f64 {
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(count >> 32).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

#[cfg(test)]
mod tests;
