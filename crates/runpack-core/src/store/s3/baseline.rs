//! What a bucket should be set to before evidence lies in it: looked at, and set where something is missing.
//!
//! Invariants: a setting that is stronger than what is wanted is good and stays; nothing is ever weakened or replaced, and
//! where that would be needed it is said what to do by hand; the statements of a bucket's policy that are not ours stay as
//! they are; a function that the store does not have is told as such and never taken for good; what was set is looked at
//! again, and only what is seen then counts.

mod policy;
mod settings;

use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::Serialize;

use self::settings::Change;
use super::fault::Fault;
use super::{BucketName, Encryption, S3Store};
use crate::store::StoreError;

pub use policy::{TlsVersion, transport_statements};

/// What is wanted of a bucket, beyond what is wanted of every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// What new objects are encrypted with that ask for nothing.
    pub encryption: Encryption,
    /// The oldest TLS that is let in. Only Amazon S3 knows the condition; elsewhere it is left out.
    pub tls_min: TlsVersion,
    /// Where access is logged to.
    pub access_log: Option<AccessLog>,
}

/// Where a service writes its log of access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The bucket, which is another one.
    pub bucket: BucketName,
    /// What its objects begin with.
    pub prefix: String,
}

/// One setting of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// What objects are encrypted with that ask for nothing.
    Encryption,
    /// That nothing comes or goes in the clear.
    Transport,
    /// That versions are kept.
    Versioning,
    /// That nothing is public.
    PublicAccess,
    /// That the owner of the bucket owns every object, and lists of access mean nothing.
    Ownership,
    /// That access is logged.
    AccessLog,
}

impl Setting {
    /// All of them, in the order in which they are set: what denies requests comes last.
    pub const ALL: [Self; 6] = [
        Self::Encryption,
        Self::Versioning,
        Self::Ownership,
        Self::PublicAccess,
        Self::AccessLog,
        Self::Transport,
    ];
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Encryption => "encryption",
            Self::Transport => "transport",
            Self::Versioning => "versioning",
            Self::PublicAccess => "public-access",
            Self::Ownership => "ownership",
            Self::AccessLog => "access-log",
        })
    }
}

/// How it stands with a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Standing {
    /// It is as it should be, or stronger.
    Good,
    /// It is not, and can be set.
    Missing,
    /// It is not, and would have to be replaced or needs something else: by hand.
    ByHand {
        /// What to do.
        todo: String,
    },
    /// The store does not have the function: nobody knows how it does it.
    Unsupported,
    /// It was not found out.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// A setting as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BaselineFinding {
    /// Which.
    pub setting: Setting,
    /// What it should be.
    pub wanted: String,
    /// What it is: text of the store may be in it.
    pub found: String,
    /// How it stands.
    pub standing: Standing,
}

/// What was found, and what would mend it.
struct Looked {
    found: String,
    standing: Standing,
    change: Option<Change>,
}

impl Looked {
    fn good(found: impl Into<String>) -> Self {
        Self::of(found, Standing::Good)
    }

    fn by_hand(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::of(found, Standing::ByHand { todo: todo.into() })
    }

    fn missing(found: impl Into<String>, change: Change) -> Self {
        Self {
            change: Some(change),
            ..Self::of(found, Standing::Missing)
        }
    }

    /// The store did not say.
    fn untold(standing: Standing) -> Self {
        let found = match &standing {
            Standing::Unsupported => "not supported here",
            _ => "not known",
        };
        Self::of(found, standing)
    }

    fn of(found: impl Into<String>, standing: Standing) -> Self {
        Self {
            found: found.into(),
            standing,
            change: None,
        }
    }
}

impl S3Store {
    /// How it stands with every setting.
    ///
    /// # Errors
    /// There is no tokio runtime here; what the store refuses is a finding.
    pub async fn baseline(&self, wanted: &Baseline) -> Result<Vec<BaselineFinding>, StoreError> {
        let mut findings = Vec::new();
        for setting in Setting::ALL {
            let looked = self.look(setting, wanted).await?;
            findings.push(self.finding(setting, wanted, looked));
        }
        Ok(findings)
    }

    /// Sets what is missing of one setting, and tells how it stands then.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn mend(
        &self,
        setting: Setting,
        wanted: &Baseline,
    ) -> Result<BaselineFinding, StoreError> {
        let looked = self.look(setting, wanted).await?;
        let looked = match looked.change {
            Some(change) => {
                self.change(change).await?;
                self.look(setting, wanted).await?
            }
            None => looked,
        };
        Ok(self.finding(setting, wanted, looked))
    }

    fn finding(&self, setting: Setting, wanted: &Baseline, looked: Looked) -> BaselineFinding {
        BaselineFinding {
            setting,
            wanted: self.wanted(setting, wanted),
            found: looked.found,
            standing: looked.standing,
        }
    }

    /// What is looked for, where the store answers or says that there is none.
    fn found<T, E>(
        &self,
        asked: Result<T, SdkError<E, HttpResponse>>,
        absent: &str,
        action: &'static str,
    ) -> Result<Option<T>, Standing>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let fault = match asked {
            Ok(found) => return Ok(Some(found)),
            Err(error) => Fault::from(error),
        };
        if fault.has_code(absent) {
            return Ok(None);
        }
        if fault.is_unknown_function() {
            return Err(Standing::Unsupported);
        }
        let why = fault.into_error(self, action, "").to_string();
        Err(Standing::Unknown { why })
    }
}
