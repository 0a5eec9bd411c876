//! Which run: the options of every command that is about one run, or about those of some tenant.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

use std::ffi::OsString;

use clap::Args;
use runpack_core::id::{Namespace, RunId, Scenario, Tenant};
use runpack_core::key::{KeyPrefix, Location};
use runpack_core::manifest::Subject;

use crate::config::CONFIG_FILE;
use crate::context::Context;
use crate::failure::Failure;

/// Which run.
#[derive(Debug, Clone, Default, Args)]
pub struct RunOptions {
    /// Tenant [env: RUNPACK_TENANT]
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<Tenant>,
    /// Namespace [env: RUNPACK_NAMESPACE]
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<Namespace>,
    /// Scenario
    #[arg(long, value_name = "SCENARIO")]
    pub(crate) scenario: Option<Scenario>,
    /// Run id
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<RunId>,
}

/// Whose runs: as far as flags, environment and configuration say.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Whose {
    /// `--tenant`, `RUNPACK_TENANT`, `tenant`
    pub tenant: Option<Tenant>,
    /// `--namespace`, `RUNPACK_NAMESPACE`, `namespace`
    pub namespace: Option<Namespace>,
    /// `--scenario`, `scenario`
    pub scenario: Option<Scenario>,
}

impl RunOptions {
    /// Whether any of them is given.
    pub const fn is_given(&self) -> bool {
        self.tenant.is_some()
            || self.namespace.is_some()
            || self.scenario.is_some()
            || self.run_id.is_some()
    }

    /// Flags over environment over configuration.
    ///
    /// # Errors
    /// An id is none, or the configuration cannot be read.
    pub fn whose(&self, context: &Context) -> Result<Whose, Failure> {
        let config = context.config()?;
        let environment = &context.environment;
        Ok(Whose {
            tenant: part(
                self.tenant.as_ref(),
                ("RUNPACK_TENANT", environment.tenant.as_ref()),
                config.tenant.as_deref(),
            )?,
            namespace: part(
                self.namespace.as_ref(),
                ("RUNPACK_NAMESPACE", environment.namespace.as_ref()),
                config.namespace.as_deref(),
            )?,
            scenario: part(
                self.scenario.as_ref(),
                ("", None),
                config.scenario.as_deref(),
            )?,
        })
    }

    /// Whether a subject is asked for; one that does not have a field has not this value of it.
    pub(crate) fn wants(&self, subject: &Subject) -> bool {
        let fields = subject.fields();
        let is = |member: &str, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| {
                fields
                    .iter()
                    .any(|(known, value)| *known == member && value == wanted)
            })
        };
        is("tenant", self.tenant.as_ref().map(Tenant::as_str))
            && is("namespace", self.namespace.as_ref().map(Namespace::as_str))
            && is("scenario", self.scenario.as_ref().map(Scenario::as_str))
            && is("run_id", self.run_id.as_ref().map(RunId::as_str))
    }

    /// The part of a store that is looked through: bundles and the packs of pipelines lie elsewhere than runs,
    /// so only a namespace, which no pipeline has, narrows it.
    pub(crate) fn prefix(&self) -> KeyPrefix {
        match (&self.tenant, &self.namespace) {
            (Some(tenant), Some(namespace)) => Location::runs_prefix(
                tenant,
                Some(namespace),
                self.scenario.as_ref(),
                self.run_id.as_ref(),
            ),
            _ => KeyPrefix::all(),
        }
    }
}

/// A part of the identity: flag, else environment, else configuration.
fn part<T>(
    flag: Option<&T>,
    variable: (&str, Option<&OsString>),
    configured: Option<&str>,
) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr<Err: std::error::Error> + Clone,
{
    if let Some(flag) = flag {
        return Ok(Some(flag.clone()));
    }
    let (from, text) = match (variable, configured) {
        ((name, Some(value)), _) => (name, value.to_string_lossy().into_owned()),
        ((_, None), Some(value)) => (CONFIG_FILE, value.to_owned()),
        ((_, None), None) => return Ok(None),
    };
    text.parse().map(Some).map_err(|error: T::Err| {
        Failure::new(
            format!("an id in {from} is none, id=`{text}`"),
            "correct it",
        )
        .because(&error)
    })
}
