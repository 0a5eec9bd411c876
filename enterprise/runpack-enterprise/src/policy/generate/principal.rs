//! A user or role that a policy names.

use std::fmt;
use std::str::FromStr;

use crate::retention::shown;

/// The ARN of a user or role, such as `arn:aws:iam::123456789012:role/auditor`, or `arn:aws:iam:::user/auditor` at Ceph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalArn(Box<str>);

impl PrincipalArn {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a role, whose sessions have names of their own.
    pub(super) fn is_role(&self) -> bool {
        self.0.contains(":role/")
    }
}

/// Not the ARN of a user or role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a principal is the ARN of one user or role, such as arn:aws:iam::123456789012:role/auditor, without wildcards, found=`{0}`"
)]
pub struct PrincipalError(String);

impl FromStr for PrincipalArn {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let error = || PrincipalError(shown(text));
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [scheme, partition, "iam", "", account, resource] = *parts.as_slice() else {
            return Err(error());
        };
        let is_name = |text: &str, more: &[u8]| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let name = resource
            .strip_prefix("user/")
            .or_else(|| resource.strip_prefix("role/"));
        let is_principal = scheme == "arn"
            && partition.starts_with("aws")
            && is_name(partition, b"-")
            && is_name(account, b"-_")
            && name.is_some_and(|name| !name.is_empty() && is_name(name, b"+=,.@_-/"))
            && text.len() <= 2_048;
        if is_principal {
            Ok(Self(text.into()))
        } else {
            Err(error())
        }
    }
}

impl fmt::Display for PrincipalArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
