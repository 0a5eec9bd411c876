//! A listing from the first source that begins one.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::{Role, Shared, Standing, late, unavailable};
use crate::key::KeyPrefix;
use crate::store::{ListEntry, ListStream, StoreError};

enum Way {
    Beginning,
    Going(usize, ListStream),
}

pub(super) fn list(shared: &Arc<Shared>, prefix: &KeyPrefix) -> ListStream {
    let state = Some((Arc::clone(shared), prefix.clone(), Way::Beginning));
    Box::pin(stream::unfold(state, async |state| {
        let (shared, prefix, way) = state?;
        match way {
            Way::Going(at, listing) => next(shared, prefix, at, listing).await,
            Way::Beginning => begin(shared, prefix).await,
        }
    }))
}

type Step = (
    Result<ListEntry, StoreError>,
    Option<(Arc<Shared>, KeyPrefix, Way)>,
);

async fn begin(shared: Arc<Shared>, prefix: KeyPrefix) -> Option<Step> {
    let mut turned_away = Vec::new();
    for (at, source) in shared.sources.iter().enumerate() {
        let reader = match source.standing(shared.settings.leave_alone_for) {
            Standing::Asked(reader) => reader,
            Standing::LeftAlone(why) => {
                turned_away.push(format!("{}: {why}", source.shown()));
                continue;
            }
        };
        let mut listing = reader.list(&prefix);
        let answered = tokio::time::timeout(shared.settings.answer_within, listing.next()).await;
        let error = match answered {
            Ok(entry @ (None | Some(Ok(_)))) => {
                source.answered();
                source.listed();
                let entry = entry?;
                let going = Way::Going(at, listing);
                return Some((entry, Some((Arc::clone(&shared), prefix, going))));
            }
            Ok(Some(Err(error))) => error,
            Err(_) => late(prefix.as_str(), shared.settings.answer_within),
        };
        if error.is_retryable() {
            source.failed(&error, shared.settings.leave_alone_for);
        } else if source.role == Role::Primary
            && !(shared.settings.where_denied && matches!(error, StoreError::Denied { .. }))
        {
            return Some((Err(error), None));
        }
        let met = crate::display::chain(&error);
        turned_away.push(format!("{}: {met}", source.shown()));
    }
    let error = unavailable(prefix.as_str(), turned_away.join("; "));
    Some((Err(error), None))
}

/// From its first entry on a listing is of one source: there is no order by which another could go on.
async fn next(
    shared: Arc<Shared>,
    prefix: KeyPrefix,
    at: usize,
    mut listing: ListStream,
) -> Option<Step> {
    let source = shared.sources.get(at)?;
    let answered = tokio::time::timeout(shared.settings.answer_within, listing.next()).await;
    let error = match answered {
        Ok(None) => return None,
        Ok(Some(Ok(entry))) => {
            let going = Way::Going(at, listing);
            return Some((Ok(entry), Some((Arc::clone(&shared), prefix, going))));
        }
        Ok(Some(Err(error))) => error,
        Err(_) => late(prefix.as_str(), shared.settings.answer_within),
    };
    if error.is_retryable() {
        source.failed(&error, shared.settings.leave_alone_for);
    }
    Some((Err(error), None))
}
