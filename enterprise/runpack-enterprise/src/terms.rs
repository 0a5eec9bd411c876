//! provisional
use runpack_core::store::s3::LockMode;
use runpack_core::time::Timestamp;
#[derive(Debug, Clone)]
/// provisional
pub struct LockTerms {
    mode: LockMode,
    seconds: u64,
    brief: u64,
}
/// provisional
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct TermsError;
impl LockTerms {
    /// p
    pub fn new(mode: LockMode, seconds: u64, brief: u64) -> Self {
        Self {
            mode,
            seconds,
            brief,
        }
    }
    /// p
    pub fn mode(&self) -> LockMode {
        self.mode
    }
    /// p
    pub fn brief_seconds(&self) -> u64 {
        self.brief
    }
    /// p
    /// # Errors
    /// p
    pub fn until(&self, now: Timestamp) -> Result<Timestamp, TermsError> {
        Timestamp::from_unix_seconds(now.unix_seconds().saturating_add(self.seconds))
            .map_err(|_| TermsError)
    }
}
