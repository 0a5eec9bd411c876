//! Storage classes, as Amazon S3 names them: from warm to cold.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A storage class. The order is from warm to cold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StorageClass {
    /// Where objects are written.
    Standard,
    /// For infrequent access.
    StandardIa,
    /// The same in one zone: who loses the zone loses the object.
    OneZoneIa,
    /// An archive that is read at once.
    GlacierInstant,
    /// An archive from which an object is asked back, in minutes to hours.
    Glacier,
    /// An archive from which an object is asked back, in hours to days.
    DeepArchive,
}

impl StorageClass {
    /// All of them, from warm to cold.
    pub const ALL: [Self; 6] = [
        Self::Standard,
        Self::StandardIa,
        Self::OneZoneIa,
        Self::GlacierInstant,
        Self::Glacier,
        Self::DeepArchive,
    ];

    /// As the store writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::StandardIa => "STANDARD_IA",
            Self::OneZoneIa => "ONEZONE_IA",
            Self::GlacierInstant => "GLACIER_IR",
            Self::Glacier => "GLACIER",
            Self::DeepArchive => "DEEP_ARCHIVE",
        }
    }

    /// Whether an object there is read without being asked back first.
    pub const fn is_read_at_once(self) -> bool {
        !matches!(self, Self::Glacier | Self::DeepArchive)
    }

    pub(super) const fn is_infrequent_access(self) -> bool {
        matches!(self, Self::StandardIa | Self::OneZoneIa)
    }

    /// For how many days an object there is paid for at least.
    pub const fn days_min(self) -> u32 {
        match self {
            Self::Standard => 0,
            Self::StandardIa | Self::OneZoneIa => 30,
            Self::GlacierInstant | Self::Glacier => 90,
            Self::DeepArchive => 180,
        }
    }

    /// Whether an object moves from here to there by a rule.
    pub fn goes_to(self, to: Self) -> bool {
        self < to && (self, to) != (Self::OneZoneIa, Self::GlacierInstant)
    }
}

impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No storage class that objects are moved to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a storage class is STANDARD, STANDARD_IA, ONEZONE_IA, GLACIER_IR, GLACIER or DEEP_ARCHIVE, found=`{found}`"
)]
pub struct UnknownClass {
    /// What was found in its place.
    pub found: String,
}

impl FromStr for StorageClass {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        let known = Self::ALL.into_iter().find(|class| class.as_str() == text);
        known.ok_or_else(|| UnknownClass {
            found: text.to_owned(),
        })
    }
}

impl Serialize for StorageClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
