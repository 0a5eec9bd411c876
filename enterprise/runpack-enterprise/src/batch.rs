//! The same for many things, some at once and in order.
//!
//! A future of a request is large before it has begun: they are made a few at a time, so that a pack of 100,000 artifacts
//! takes no more memory for them than one of a hundred.

use std::future::Future;

use futures_util::{StreamExt as _, stream};

/// How many futures are made at a time.
const FEW: usize = 256;
/// Requests under way at once.
const IN_FLIGHT: usize = 16;

/// Does `work` for each, and gives what came of them in their order.
///
/// # Errors
/// The first that occurs in their order; what was under way beside it is given up.
pub async fn each<T, R, E, F>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F,
) -> Result<Vec<R>, E>
where
    F: Future<Output = Result<R, E>>,
{
    let mut items = items.into_iter();
    let mut done = Vec::new();
    loop {
        let few: Vec<F> = items.by_ref().take(FEW).map(&work).collect();
        if few.is_empty() {
            return Ok(done);
        }
        let mut results = stream::iter(few).buffered(IN_FLIGHT);
        while let Some(result) = results.next().await {
            done.push(result?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_in_order_and_the_first_error_ends_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let double = |number: u32| async move {
            if number == 700 {
                Err(number)
            } else {
                Ok(number * 2)
            }
        };
        let done = runtime.block_on(each(0..600, double)).unwrap();
        assert_eq!(done, (0..600).map(|number| number * 2).collect::<Vec<_>>());
        assert_eq!(runtime.block_on(each(0..1_000, double)), Err(700));
        assert_eq!(runtime.block_on(each(0..0, double)), Ok(Vec::new()));
    }
}
