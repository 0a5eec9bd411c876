//! Bearer tokens of our own: 32 random bytes that are shown once, and known by their SHA-256 ever after.
//!
//! Invariants: what is compared is a digest, in constant time, with every entry there is (threats C07 and C08), so that
//! neither an answer nor its time tells how near somebody came. A digest without salt is enough: nobody guesses 32 random
//! bytes.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use runpack_core::digest::Digest;
use runpack_core::time::Timestamp;
use subtle::ConstantTimeEq as _;

use super::caller::{Caller, Grant};
use super::refusal::{Reason, Refusal};

/// So that people, and those who scan for leaked secrets, see what it is.
const PREFIX: &str = "rp_";
const RANDOM_BYTES: usize = 32;

/// A token that nobody has yet.
pub struct NewToken {
    text: String,
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes, and no token was made: try again")]
pub struct GenerateError;

impl NewToken {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self, GenerateError> {
        let mut random = [0; RANDOM_BYTES];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| GenerateError)?;
        let mut text = PREFIX.to_owned();
        BASE64_URL_SAFE_NO_PAD.encode_string(random, &mut text);
        Ok(Self { text })
    }

    /// The token itself: to be shown once, to whom it is for.
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// What the policy file gets.
    pub fn sha256(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewToken").field(&self.sha256()).finish()
    }
}

/// One token of the policy.
#[derive(Debug)]
pub(super) struct TokenEntry {
    pub(super) name: Box<str>,
    pub(super) sha256: Digest,
    pub(super) expires: Option<Timestamp>,
    pub(super) grants: Arc<[Grant]>,
}

/// All tokens of the policy. Several may have one name, so that one can be replaced without a gap.
#[derive(Debug, Default)]
pub(super) struct Tokens(pub(super) Vec<TokenEntry>);

impl Tokens {
    pub(super) fn authenticate(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let sha256 = Digest::of(token.as_bytes());
        let found = self.0.iter().fold(None, |found, entry| {
            let is_it = bool::from(entry.sha256.as_bytes().ct_eq(sha256.as_bytes()));
            if is_it { Some(entry) } else { found }
        });
        let Some(entry) = found else {
            return Err(Refusal::new(
                Reason::BadToken,
                "the policy has no token with this digest",
            ));
        };
        let name = format!("token:{}", entry.name);
        if let Some(expires) = entry.expires.filter(|expires| *expires <= now) {
            let detail = format!("the token has expired, expires=`{expires}`");
            return Err(Refusal::new(Reason::Expired, detail).claimed_by(&name));
        }
        Ok(Caller::new(&name, Arc::clone(&entry.grants)))
    }
}
