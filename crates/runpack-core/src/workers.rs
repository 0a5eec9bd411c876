//! Work on every core: a few threads of our own, each with a small runtime for itself.
//!
//! Hashing is what a pack costs, so each worker takes jobs from a shared queue, waits for bytes and
//! hashes them on the same thread. Nothing moves between threads but results. Where there are no
//! threads (WebAssembly) the caller's task does the work. Memory is bounded by construction: a worker
//! holds one job, and a job holds a few pieces (see `verify::content` and `pack::stage`).

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};

/// The most workers, whatever the machine has: each holds buffers.
const WORKERS_MAX: usize = 16;

/// How many workers there are.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .min(WORKERS_MAX)
}

/// Tells workers that nobody waits for them any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sets the stop when the caller's future is dropped or done.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// A worker ended without a result: it panicked, which is our bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker thread ended without a result, which is a bug in Runpack")]
pub(crate) struct WorkerLost;

/// Runs `work` on every worker and waits for all of them.
pub(crate) async fn run<W, F>(stop: Stop, work: W) -> Result<(), WorkerLost>
where
    W: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()>,
{
    let _stop = StopOnDrop(stop);
    let work = Arc::new(work);
    let mut waiting = Vec::new();
    if cfg!(not(target_family = "wasm")) {
        for _ in 0..count() {
            waiting.extend(start(&work));
        }
    }
    if waiting.is_empty() {
        work().await;
    }
    for done in waiting {
        done.await.map_err(|_| WorkerLost)?;
    }
    Ok(())
}

/// Runs `work` on the jobs `0..jobs`, at most `in_flight` at once on each worker, and gives the results
/// in order. After the first error no further job is started, and that error is the result.
pub(crate) async fn each<T, E, W, F>(jobs: usize, in_flight: usize, work: W) -> Result<Vec<T>, E>
where
    T: Send + 'static,
    E: From<WorkerLost> + Send + 'static,
    W: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = Result<T, E>>,
{
    if jobs == 0 {
        return Ok(Vec::new());
    }
    let stop = Stop::default();
    let next = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(Mutex::new((Vec::new(), None)));
    let (work, results) = (Arc::new(work), Arc::clone(&ended));
    let ran = run(stop.clone(), move || {
        let (next, work, results, stop) = (
            Arc::clone(&next),
            Arc::clone(&work),
            Arc::clone(&results),
            stop.clone(),
        );
        async move {
            let jobs = std::iter::from_fn(|| {
                let job = next.fetch_add(1, Ordering::Relaxed);
                (job < jobs && !stop.is_set()).then_some(job)
            });
            let run = |job| {
                let (work, results, stop) = (&work, &results, &stop);
                async move {
                    let result = work(job).await;
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(value) => results.0.push((job, value)),
                        Err(error) => {
                            stop.set();
                            results.1.get_or_insert(error);
                        }
                    }
                }
            };
            stream::iter(jobs).for_each_concurrent(in_flight, run).await;
        }
    })
    .await;
    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = ended.1.take() {
        return Err(error);
    }
    ran?;
    let mut done = std::mem::take(&mut ended.0);
    if done.len() != jobs {
        return Err(WorkerLost.into());
    }
    done.sort_unstable_by_key(|(job, _)| *job);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// Starts one worker; `None` where the system gives no thread.
fn start<W, F>(work: &Arc<W>) -> Option<tokio::sync::oneshot::Receiver<()>>
where
    W: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()>,
{
    let (done, waiting) = tokio::sync::oneshot::channel();
    let work = Arc::clone(work);
    let thread = move || {
        #[cfg(feature = "file")]
        crate::blocking::this_thread_may_block();
        // Without a runtime the sender is dropped, and the caller learns that a worker was lost.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            runtime.block_on(work());
            // Whoever waited may count on it that nothing holds on to what the work held.
            drop(runtime);
            drop(work);
            let _ = done.send(());
        }
    };
    std::thread::Builder::new()
        .name("runpack-worker".into())
        .spawn(thread)
        .ok()?;
    Some(waiting)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn every_worker_works_and_all_are_waited_for() {
        let done = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&done);
        let ran = block_on(run(Stop::default(), move || {
            let done = Arc::clone(&done);
            async move {
                tokio::task::yield_now().await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
        assert_eq!(ran, Ok(()));
        assert!(seen.load(Ordering::Relaxed) >= 1);
    }

    #[test]
    fn a_lost_worker_is_never_a_success() {
        let ran = block_on(run(Stop::default(), || async {
            panic!("a bug, for the test")
        }));
        assert_eq!(ran, Err(WorkerLost));
    }

    #[test]
    fn a_dropped_caller_stops_its_workers() {
        let stop = Stop::default();
        let seen = stop.clone();
        {
            let inner = stop.clone();
            let waiting = run(stop, move || {
                let stop = inner.clone();
                async move {
                    while !stop.is_set() {
                        std::thread::yield_now();
                    }
                }
            });
            let mut waiting = std::pin::pin!(waiting);
            let waker = std::task::Waker::noop();
            let polled = waiting
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker));
            assert!(polled.is_pending());
        }
        assert!(seen.is_set());
    }
}
