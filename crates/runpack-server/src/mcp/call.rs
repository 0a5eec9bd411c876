//! One call of a tool: who calls, what is done, and its line in the audit log before the answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::request::Parts;
use rmcp::model::{CallToolResult, JsonObject};
use rmcp::service::{RequestContext, RoleServer};
use runpack_core::display::chain;

use super::Work;
use super::answer::{Answer, refused};
use super::describe::ToolName;
use crate::access::{Caller, Scope, Verb};
use crate::api::trail::Gone;
use crate::audit::{Event, Outcome, State};
use crate::problem::Problem;

/// Who calls.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) caller: Caller,
    /// The id of the request.
    pub(super) request: String,
    /// Where the caller is; `None` for who started this program.
    pub(super) peer: Option<IpAddr>,
    /// Where the request goes on without its client.
    pub(super) gone: Option<Gone>,
}

impl Session {
    pub(super) fn of_operator(caller: &Caller) -> Self {
        Self {
            caller: caller.clone(),
            request: ulid::Ulid::generate().to_string(),
            peer: None,
            gone: None,
        }
    }

    /// As whoever let the request in left it there.
    pub(super) fn of_request(context: &RequestContext<RoleServer>) -> Option<Self> {
        let parts = context.extensions.get::<Parts>()?;
        parts.extensions.get::<Self>().cloned()
    }

    /// That they may write there.
    ///
    /// # Errors
    /// They may not, and are told so.
    pub(super) fn may_write(&self, scope: &Scope) -> Result<(), Problem> {
        if self.caller.may(Verb::Write, scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "exporting is not granted, tenant=`{}` namespace=`{}`",
            scope.organization,
            scope.project.as_deref().unwrap_or("*")
        )))
    }

    /// That they may read there.
    ///
    /// # Errors
    /// They may not, and are told that there is nothing.
    pub(super) fn may_read(&self, scope: &Scope, told: &mut Told) -> Result<(), Problem> {
        if self.caller.may(Verb::Read, scope) {
            return Ok(());
        }
        told.note("refused", "out of scope");
        Err(hidden())
    }
}

/// What is told of what is not there, and of what is there and not for this caller.
pub(super) fn hidden() -> Problem {
    Problem::not_found("there is no such thing, or not for this caller")
}

/// What the audit log is told of a call.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) object: String,
    detail: BTreeMap<&'static str, String>,
}

impl Told {
    pub(super) fn note(&mut self, name: &'static str, value: &(impl ToString + ?Sized)) {
        self.detail.insert(name, value.to_string());
    }
}

/// The problem of a call that nobody waits for any more.
pub(super) fn cancelled() -> Problem {
    Problem::unavailable("the request was cancelled before anything was committed")
}

impl Work {
    /// Does what is asked for. `cancelled` is when nobody waits for it any more.
    pub(super) async fn call(
        &self,
        name: ToolName,
        session: &Session,
        arguments: JsonObject,
        cancelled: impl Future<Output = ()> + Send,
    ) -> CallToolResult {
        let mut told = Told {
            object: String::new(),
            detail: BTreeMap::from([("tool", name.as_str().to_owned())]),
        };
        let done = self
            .done(name, session, arguments, &mut told, cancelled)
            .await;
        let done = match self.record(name, session, told, &done).await {
            Ok(()) => done,
            Err(problem) => Err(problem),
        };
        match done {
            Ok(answer) => answer.into(),
            Err(problem) => refused(&problem),
        }
    }

    async fn done(
        &self,
        name: ToolName,
        session: &Session,
        arguments: JsonObject,
        told: &mut Told,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Answer, Problem> {
        // As over HTTP: what could not be written down is not done (threat C33).
        if let Some(audit) = &self.audit
            && audit.state() != State::Ready
        {
            return Err(Problem::unavailable("the audit log takes no more lines").retry_after(30));
        }
        match name {
            ToolName::Export => self.export(session, arguments, told, cancelled).await,
            ToolName::Verify => tokio::select! {
                done = self.verify(session, arguments, told) => done,
                () = cancelled => Err(self::cancelled()),
            },
            ToolName::List => tokio::select! {
                done = self.list(session, arguments, told) => done,
                () = cancelled => Err(self::cancelled()),
            },
        }
    }

    /// Writes the line; a list that was given has none, as over HTTP.
    async fn record(
        &self,
        name: ToolName,
        session: &Session,
        mut told: Told,
        done: &Result<Answer, Problem>,
    ) -> Result<(), Problem> {
        let Some(audit) = &self.audit else {
            return Ok(());
        };
        let (outcome, status) = match done {
            Ok(_) if name == ToolName::List => return Ok(()),
            Ok(_) => (Outcome::Accepted, 200),
            Err(problem) if problem.status() < 500 => (Outcome::Refused, problem.status()),
            Err(problem) => (Outcome::Failed, problem.status()),
        };
        if let Err(problem) = done {
            told.note("code", problem.code());
        }
        if let Some(peer) = session.peer {
            told.note("peer", &peer);
        }
        let event = Event {
            request: Some(session.request.clone()),
            caller: Some(session.caller.name().into()),
            action: name.action(),
            object: told.object,
            outcome,
            status,
            detail: told.detail,
        };
        audit.record(event).await.map_err(|error| {
            tracing::error!(error = chain(&error), "the audit log failed");
            Problem::unavailable("the audit log could not be written, send it again")
                .retry_after(30)
        })
    }
}
