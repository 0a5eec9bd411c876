//! Who calls: every handler of the interface has one of these, and there is none without authentication.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::trail::{Gone, Trail};
use crate::access::{Caller, Scope, Verb};
use crate::listen::Peer;
use crate::problem::Problem;
use crate::service::Service;

/// A request by somebody who was authenticated and is within their rate.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) trail: Trail,
    /// Where the request goes on without its client.
    pub(crate) gone: Option<Gone>,
}

impl Call {
    /// Returns when nobody waits for the answer any more: what is done for the answer alone need not be finished.
    pub(super) async fn gone(&self) {
        Gone::wait(self.gone.clone()).await;
    }

    /// That they may write anything at all. Asked before a body is read that says where.
    ///
    /// # Errors
    /// They may not.
    pub(super) fn may_write_anywhere(&self) -> Result<(), Problem> {
        if self.caller.may_anywhere(Verb::Write) {
            return Ok(());
        }
        Err(Problem::forbidden("writing is granted nowhere"))
    }

    /// That they may write there.
    ///
    /// # Errors
    /// They may not, and are told so.
    pub(super) fn may_write(&self, scope: &Scope) -> Result<(), Problem> {
        if self.caller.may(Verb::Write, scope) {
            return Ok(());
        }
        self.out_of(scope);
        Err(Problem::forbidden(format!(
            "writing is not granted, organization=`{}` project=`{}`",
            scope.organization,
            scope.project.as_deref().unwrap_or("*")
        )))
    }

    /// That they may read there.
    ///
    /// # Errors
    /// They may not, and are told that there is nothing.
    pub(super) fn may_read(&self, scope: &Scope) -> Result<(), Problem> {
        if self.caller.may(Verb::Read, scope) {
            return Ok(());
        }
        self.out_of(scope);
        Err(absent())
    }

    /// Where they wanted to do it goes to the audit log beside who they are: the object may be but an id.
    fn out_of(&self, scope: &Scope) {
        self.trail.note("refused", "out of scope");
        self.trail.note("organization", &scope.organization);
        if let Some(project) = &scope.project {
            self.trail.note("project", project);
        }
    }

    /// That they may write there what they know the id of: whoever may not even read it is told that there is nothing.
    ///
    /// # Errors
    /// They may not.
    pub(super) fn may_write_to(&self, scope: &Scope) -> Result<(), Problem> {
        if !self.caller.may(Verb::Write, scope) {
            self.may_read(scope)?;
        }
        self.may_write(scope)
    }
}

/// What is told of what is not there, and of what is there and not for this caller: nobody learns which it is.
pub(super) fn absent() -> Problem {
    Problem::not_found("there is no such thing, or not for this caller")
}

impl FromRequestParts<Arc<Service>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, Problem> {
        let trail = parts
            .extensions
            .get::<Trail>()
            .cloned()
            .ok_or_else(|| Problem::bug("a request without a trail"))?;
        match service.access.authenticate(&parts.headers).await {
            Ok(caller) => {
                trail.caller(caller.name());
                let key: Box<str> = caller.name().into();
                if service.callers.check_key(&key).is_err() {
                    trail.is_too_often();
                    return Err(Problem::rate("this caller's rate is used up").retry_after(1));
                }
                let gone = parts.extensions.get::<Gone>().cloned();
                Ok(Self {
                    caller,
                    trail,
                    gone,
                })
            }
            Err(refusal) => {
                trail.refusal(&refusal);
                let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
                if let Some(peer) = peer
                    && service.strangers.check_key(&peer).is_err()
                {
                    let many = Problem::rate("too many refused credentials from this address");
                    return Err(many.retry_after(1));
                }
                Err((&refusal).into())
            }
        }
    }
}
