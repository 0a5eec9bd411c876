//! What an administrator or an attacker does to locks and holds.

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode, ObjectLockRule,
};
use runpack_core::store::s3::LockMode;
use runpack_core::time::Timestamp;

use super::bucket::{TestBucket, code};

/// With which right a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// As anybody.
    Not,
    /// To bypass governance.
    Governance,
}

impl Bypass {
    fn header(self) -> Option<bool> {
        (self == Self::Governance).then_some(true)
    }
}

impl TestBucket {
    /// Changes the lock of a version.
    ///
    /// # Errors
    /// The server's code, if it does not.
    pub async fn retain_raw(
        &self,
        name: &str,
        version: &str,
        (mode, until): (LockMode, Timestamp),
        bypass: Bypass,
    ) -> Result<(), String> {
        let seconds = i64::try_from(until.unix_seconds()).unwrap();
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::from(mode.as_str()))
            .retain_until_date(DateTime::from_secs(seconds))
            .build();
        let set = self.client().put_object_retention().bucket(&self.name);
        let set = set.key(name).version_id(version).retention(retention);
        let set = set.set_bypass_governance_retention(bypass.header());
        code(set.send().await)
    }

    /// Turns the legal hold of a version on or off.
    ///
    /// # Errors
    /// The server's code, if it does not.
    pub async fn hold_raw(
        &self,
        name: &str,
        version: &str,
        status: ObjectLockLegalHoldStatus,
    ) -> Result<(), String> {
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let set = self.client().put_object_legal_hold().bucket(&self.name);
        let set = set.key(name).version_id(version).legal_hold(hold);
        code(set.send().await)
    }

    /// Places a legal hold on a version.
    ///
    /// # Errors
    /// The server's code, if it does not.
    pub async fn place_hold_raw(&self, name: &str, version: &str) -> Result<(), String> {
        self.hold_raw(name, version, ObjectLockLegalHoldStatus::On)
            .await
    }

    /// Clears the legal hold of a version, as whoever has the right to can.
    ///
    /// # Errors
    /// The server's code, if it does not.
    pub async fn clear_hold_raw(&self, name: &str, version: &str) -> Result<(), String> {
        self.hold_raw(name, version, ObjectLockLegalHoldStatus::Off)
            .await
    }

    /// Whether a version is held.
    pub async fn is_held_raw(&self, name: &str, version: &str) -> bool {
        let get = self.client().get_object_legal_hold().bucket(&self.name);
        let found = get.key(name).version_id(version).send().await;
        let hold = found.ok().and_then(|found| found.legal_hold);
        hold.and_then(|hold| hold.status) == Some(ObjectLockLegalHoldStatus::On)
    }

    /// Deletes a version with the right to bypass governance.
    ///
    /// # Errors
    /// The server's code, if it does not.
    pub async fn bypass_delete_raw(&self, name: &str, version: &str) -> Result<(), String> {
        let delete = self.client().delete_object().bucket(&self.name).key(name);
        let delete = delete.version_id(version).bypass_governance_retention(true);
        code(delete.send().await)
    }

    pub(super) async fn lock_by_default(&self, mode: LockMode, days: u16) {
        let mode = ObjectLockRetentionMode::from(mode.as_str());
        let retention = DefaultRetention::builder()
            .mode(mode)
            .days(days.into())
            .build();
        let rule = ObjectLockRule::builder()
            .default_retention(retention)
            .build();
        let lock = ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .rule(rule)
            .build();
        let set = self
            .client()
            .put_object_lock_configuration()
            .bucket(&self.name);
        set.object_lock_configuration(lock).send().await.unwrap();
    }
}
