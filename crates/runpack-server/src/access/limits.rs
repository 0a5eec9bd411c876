//! What is taken from tokens and from issuers at most, and the attack that each number stops.

use std::time::Duration;

/// The numbers of [`Access`](super::Access). Only the operator raises one; no token and no issuer does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest token, before anything of it is decoded. Stops headers made to exhaust memory (C18).
    pub token_bytes_max: usize,
    /// By how much the clock of an issuer may differ from ours.
    pub leeway: Duration,
    /// The longest life of a token. Stops one stolen token from being of use for years.
    pub lifetime_max: Duration,
    /// The largest document of keys. Stops an issuer's host from exhausting memory (C20).
    pub keys_bytes_max: usize,
    /// How long a fetch of keys may take, from the name lookup to the last byte. Stops a host that never ends.
    pub keys_deadline: Duration,
    /// Keys are fetched at most once in this time. Stops made-up key ids from being turned on the issuer (C19).
    pub keys_refetch_after: Duration,
    /// Keys of this age are fetched again, so that one that was withdrawn is refused soon (C21).
    pub keys_refresh_after: Duration,
    /// Keys of this age are none any more, whoever is down. Stops withdrawn keys from living as long as an outage (C20).
    pub keys_usable_for: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token_bytes_max: 8 << 10,
            leeway: Duration::from_secs(30),
            lifetime_max: Duration::from_hours(24),
            keys_bytes_max: 256 << 10,
            keys_deadline: Duration::from_secs(5),
            keys_refetch_after: Duration::from_mins(1),
            keys_refresh_after: Duration::from_mins(10),
            keys_usable_for: Duration::from_hours(24),
        }
    }
}
