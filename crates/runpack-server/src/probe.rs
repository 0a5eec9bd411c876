//! Whether the store answers.

use std::time::Duration;

use futures_util::StreamExt as _;
use runpack_core::key::Location;
use runpack_core::store::Store;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the store has to answer.
const STORE_WAIT: Duration = Duration::from_secs(5);
/// For how long its last answer holds.
const STORE_HOLDS: Duration = Duration::from_secs(1);

/// Whether the store answers. Asked at most once a second, however many want to know: they need no token.
#[derive(Debug, Default)]
pub(crate) struct StoreProbe(Mutex<Option<(Instant, bool)>>);

impl StoreProbe {
    pub(crate) async fn answers(&self, store: &dyn Store) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, answered)) = *last
            && at.elapsed() < STORE_HOLDS
        {
            return answered;
        }
        let asked = async {
            let mut entries = store.list(&Location::probes_prefix());
            matches!(entries.next().await, None | Some(Ok(_)))
        };
        let answers = tokio::time::timeout(STORE_WAIT, asked).await == Ok(true);
        *last = Some((Instant::now(), answers));
        answers
    }
}
