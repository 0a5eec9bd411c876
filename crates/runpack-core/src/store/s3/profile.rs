//! What a store does, measured: the profile by which operations decide how to write safely, or not at all.
//!
//! A provider's documents are where to start; what counts is what this bucket did when it was asked. A profile is
//! data: [`super::S3Store::profile`] measures it, whoever keeps it measures again after [`PROFILE_SECONDS_MAX`].

use serde::{Deserialize, Serialize};

use super::settings::CreateOnly;
use crate::time::Timestamp;

/// How long a profile is believed: one day.
pub const PROFILE_SECONDS_MAX: u64 = 24 * 60 * 60;
/// The most by which a store's clock may differ before it is warned of: retention dates and signatures rest on it.
pub const SKEW_SECONDS_MAX: u64 = 300;

/// What one store does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// Always `runpack-profile/v1`.
    pub format: String,
    /// `s3://BUCKET/PREFIX`
    pub store: String,
    /// The endpoint, where it is not Amazon S3's own.
    pub endpoint: Option<String>,
    /// When it was measured, by the local clock.
    pub measured_at: Timestamp,
    /// What these credentials may do.
    pub rights: Rights,
    /// Whether `If-None-Match: *` on `PutObject` keeps what is there, also in a race.
    pub create_only_put: Enforcement,
    /// The same on `CompleteMultipartUpload`.
    pub create_only_multipart: Enforcement,
    /// Whether a wrong SHA-256 on `PutObject` is refused.
    pub checksum_put: Enforcement,
    /// The same on `UploadPart`.
    pub checksum_part: Enforcement,
    /// Whether the store tells an object's SHA-256 when asked.
    pub checksum_told: Told,
    /// The region that the bucket is in, as the service says; `None` where it does not say.
    pub location: Option<String>,
    /// Whether the bucket keeps versions.
    pub versioning: Versioning,
    /// Whether the bucket can lock objects, and does by itself.
    pub object_lock: ObjectLock,
    /// How the bucket encrypts by itself, as the store says.
    pub encryption: Option<String>,
    /// The store's clock minus the local one, in seconds; `None` where it tells no time.
    pub clock_skew_seconds: Option<i64>,
    /// What else is unusual.
    pub quirks: Vec<String>,
    /// What measuring left in the bucket, and why it could not be removed.
    pub left: Vec<String>,
}

/// What the credentials may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rights {
    /// List objects.
    pub list: Right,
    /// List versions.
    pub list_versions: Right,
    /// Write objects.
    pub write: Right,
    /// Read objects.
    pub read: Right,
    /// Remove objects: only cleaning up needs it.
    pub remove: Right,
}

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// It is.
    Allowed,
    /// It is not.
    Denied,
    /// It was not tried, or the store cannot do it.
    Unknown,
}

/// Whether the store does what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Enforcement {
    /// It does, also in a race where that matters.
    Enforced,
    /// Alone it does; of several writers at once more than one was told that it won.
    Racy,
    /// It takes the request and does not do it.
    Ignored,
    /// It refuses requests that ask for it.
    Refused {
        /// The store's own word for it.
        code: String,
    },
    /// It was not measured.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// Whether the store tells something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It was not measured.
    Unknown,
}

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Versioning {
    /// It does.
    Enabled,
    /// It did, and replaces objects now.
    Suspended,
    /// It does not.
    Off,
    /// The store does not say.
    Unknown,
}

/// Whether a bucket can lock objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ObjectLock {
    /// It can.
    On {
        /// What it does to every new object by itself: `COMPLIANCE 7 years`.
        default_retention: Option<String>,
    },
    /// It cannot.
    Off,
    /// The store does not say.
    Unknown,
}

impl ObjectLock {
    /// Whether every new object is locked without anybody asking for it.
    pub const fn locks_by_itself(&self) -> bool {
        matches!(
            self,
            Self::On {
                default_retention: Some(_)
            }
        )
    }
}

/// What a writer has to know of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WritingRules {
    /// [`Profile::create_only_put`]
    pub put: Enforcement,
    /// [`Profile::create_only_multipart`]
    pub multipart: Enforcement,
    /// [`Profile::versioning`]
    pub versioning: Versioning,
}

impl WritingRules {
    /// Whether they say anything: what was not measured is neither safe nor unsafe.
    pub fn is_measured(&self) -> bool {
        let is_known = |one: &Enforcement| !matches!(one, Enforcement::Unknown { .. });
        self.versioning == Versioning::Enabled || (is_known(&self.put) && is_known(&self.multipart))
    }

    /// How to write to this store so that nothing that is there is ever replaced; `None` where there is no safe
    /// way.
    pub fn safe(&self) -> Option<CreateOnly> {
        let both = [&self.put, &self.multipart];
        if both.iter().all(|one| **one == Enforcement::Enforced) {
            return Some(CreateOnly::Conditional);
        }
        // Where versions are kept nothing is lost, and the oldest one is the object. A condition that fails only in a
        // race does no harm there; one that is refused must not be sent, and one that is ignored keeps nothing away,
        // so that there is a look before each write.
        if self.versioning == Versioning::Enabled {
            let is_none = |one: &&Enforcement| {
                matches!(one, Enforcement::Refused { .. } | Enforcement::Ignored)
            };
            return Some(if both.iter().any(is_none) {
                CreateOnly::OldestVersion
            } else {
                CreateOnly::Conditional
            });
        }
        None
    }
}

impl Profile {
    /// What a writer has to know of it.
    pub fn writing_rules(&self) -> WritingRules {
        WritingRules {
            put: self.create_only_put.clone(),
            multipart: self.create_only_multipart.clone(),
            versioning: self.versioning,
        }
    }

    /// [`WritingRules::safe`]
    pub fn safe_writing(&self) -> Option<CreateOnly> {
        self.writing_rules().safe()
    }

    /// What somebody who relies on this store should know, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |text: &str| warnings.push(text.to_owned());
        let unproven = [&self.create_only_put, &self.create_only_multipart]
            .iter()
            .any(|one| **one != Enforcement::Enforced);
        if !self.writing_rules().is_measured() {
            warn(
                "whether the store keeps objects from being replaced was not measured: run it with a writer's credentials",
            );
        } else if self.safe_writing().is_none() {
            warn(
                "the store does not refuse to replace an object and keeps no versions: enable versioning, or accept the risk with `create_only: dangerously-check-first`",
            );
        } else if unproven {
            warn(
                "the store is not known to refuse reliably to replace an object: the oldest version of a manifest is the commit",
            );
        }
        let checks = [&self.checksum_put, &self.checksum_part];
        if checks.iter().any(|one| matches!(one, Enforcement::Ignored)) {
            warn("the store does not check SHA-256 as it takes bytes: verify after pushing");
        }
        match (&self.object_lock, self.versioning) {
            (ObjectLock::On { .. }, _) => {}
            (_, Versioning::Enabled) => warn(
                "no Object Lock: whoever may delete versions can remove evidence (WORM is missing)",
            ),
            _ => warn(
                "no Object Lock and no versions: whoever may write can remove evidence (WORM is missing)",
            ),
        }
        let skew = self.clock_skew_seconds.map_or(0, i64::unsigned_abs);
        if skew > SKEW_SECONDS_MAX {
            warn(
                "the clocks differ by more than five minutes: signatures and retention dates rest on them",
            );
        }
        warnings
    }
}

/// Whether what was measured at a time is too old to go by, or from the future.
pub fn is_stale(measured_at: Timestamp, now: Timestamp) -> bool {
    let age = now
        .unix_seconds()
        .saturating_sub(measured_at.unix_seconds());
    now < measured_at || age > PROFILE_SECONDS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(put: Enforcement, multipart: Enforcement, versioning: Versioning) -> Profile {
        Profile {
            format: "runpack-profile/v1".to_owned(),
            store: "s3://b".to_owned(),
            endpoint: None,
            measured_at: Timestamp::from_unix_seconds(1_000_000).unwrap(),
            rights: Rights {
                list: Right::Allowed,
                list_versions: Right::Allowed,
                write: Right::Allowed,
                read: Right::Allowed,
                remove: Right::Denied,
            },
            create_only_put: put,
            create_only_multipart: multipart,
            checksum_put: Enforcement::Enforced,
            checksum_part: Enforcement::Enforced,
            checksum_told: Told::Yes,
            location: None,
            versioning,
            object_lock: ObjectLock::Off,
            encryption: None,
            clock_skew_seconds: Some(0),
            quirks: Vec::new(),
            left: Vec::new(),
        }
    }

    fn refused() -> Enforcement {
        Enforcement::Refused {
            code: "NotImplemented".to_owned(),
        }
    }

    #[test]
    fn p01_without_create_only_and_versions_there_is_no_safe_way() {
        use Enforcement::{Enforced, Ignored, Racy};
        let unknown = || Enforcement::Unknown { why: String::new() };
        for (put, multipart, versioning, safe) in [
            (
                Enforced,
                Enforced,
                Versioning::Off,
                Some(CreateOnly::Conditional),
            ),
            (Enforced, Ignored, Versioning::Off, None),
            (Ignored, Enforced, Versioning::Off, None),
            (Racy, Enforced, Versioning::Off, None),
            (unknown(), unknown(), Versioning::Off, None),
            (refused(), refused(), Versioning::Suspended, None),
            (
                Enforced,
                Enforced,
                Versioning::Unknown,
                Some(CreateOnly::Conditional),
            ),
            (
                Racy,
                Racy,
                Versioning::Enabled,
                Some(CreateOnly::Conditional),
            ),
            (
                Ignored,
                Ignored,
                Versioning::Enabled,
                Some(CreateOnly::OldestVersion),
            ),
            (
                unknown(),
                unknown(),
                Versioning::Enabled,
                Some(CreateOnly::Conditional),
            ),
            (
                refused(),
                Enforced,
                Versioning::Enabled,
                Some(CreateOnly::OldestVersion),
            ),
        ] {
            let profile = profile(put, multipart, versioning);
            assert_eq!(profile.safe_writing(), safe, "{profile:?}");
        }
    }

    #[test]
    fn a_profile_ages() {
        let at = |seconds| Timestamp::from_unix_seconds(seconds).unwrap();
        let measured_at = at(1_000_000);
        assert!(!is_stale(measured_at, at(1_000_000 + PROFILE_SECONDS_MAX)));
        assert!(is_stale(measured_at, at(1_000_001 + PROFILE_SECONDS_MAX)));
        assert!(is_stale(measured_at, at(999_999)));
    }

    #[test]
    fn missing_worm_is_warned_of() {
        let mut profile = profile(
            Enforcement::Enforced,
            Enforcement::Enforced,
            Versioning::Enabled,
        );
        assert!(profile.warnings().iter().any(|text| text.contains("WORM")));
        profile.object_lock = ObjectLock::On {
            default_retention: None,
        };
        assert_eq!(profile.warnings(), Vec::<String>::new());
        profile.clock_skew_seconds = Some(-301);
        assert_eq!(profile.warnings().len(), 1);
    }
}
