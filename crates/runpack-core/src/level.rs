//! How much of a pack is checked.

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// That everything is there, of the right type and size. Content stays unproven, and the verdict
    /// is never valid.
    Presence,
    /// Every byte against its commitment.
    #[default]
    Full,
    /// Also the digests that producers claim for large artifacts as a whole.
    Deep,
}

impl Level {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Full => "full",
            Self::Deep => "deep",
        }
    }
}
