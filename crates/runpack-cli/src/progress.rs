//! Progress on standard error, where that is a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use runpack_core::progress::Progress;

use crate::output::Output;

/// How often the bar is drawn anew.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar that follows a job until it is dropped, and then leaves no trace.
#[derive(Debug)]
pub struct Meter {
    stop: Arc<AtomicBool>,
    drawing: Option<JoinHandle<()>>,
}

impl Meter {
    /// Follows a job of the core.
    pub fn of(output: &Output, doing: &'static str, progress: &Arc<Progress>) -> Self {
        let progress = Arc::clone(progress);
        Self::start(output, doing, move || {
            let reading = progress.read();
            let artifacts = match reading.artifacts_total {
                0 => String::new(),
                total => format!("{} of {total} artifacts", reading.artifacts),
            };
            (reading.bytes, reading.bytes_total, artifacts)
        })
    }

    /// Follows a counter of bytes; `bytes_total` is 0 where nobody knows.
    pub fn of_bytes(
        output: &Output,
        doing: &'static str,
        bytes: &Arc<AtomicU64>,
        bytes_total: u64,
    ) -> Self {
        let bytes = Arc::clone(bytes);
        Self::start(output, doing, move || {
            (bytes.load(Ordering::Relaxed), bytes_total, String::new())
        })
    }

    /// Follows a job of which nobody knows how large it is: bytes, and what else is to be said.
    #[cfg(feature = "catalog")]
    pub(crate) fn of_places(
        output: &Output,
        doing: &'static str,
        read: impl Fn() -> (u64, String) + Send + 'static,
    ) -> Self {
        Self::start(output, doing, move || {
            let (bytes, message) = read();
            (bytes, 0, message)
        })
    }

    fn start(
        output: &Output,
        doing: &'static str,
        read: impl Fn() -> (u64, u64, String) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let color = output.color_err();
        let drawing = output.shows_progress().then(|| {
            std::thread::Builder::new()
                .name("progress".to_owned())
                .spawn(move || draw(doing, color, &seen, read))
                .ok()
        });
        Self {
            stop,
            drawing: drawing.flatten(),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(drawing) = self.drawing.take() {
            drawing.thread().unpark();
            // A bar that failed to draw is nothing to fail over.
            let _ = drawing.join();
        }
    }
}

fn draw(
    doing: &'static str,
    color: bool,
    stop: &AtomicBool,
    read: impl Fn() -> (u64, u64, String),
) {
    // A job that is done at once shows nothing.
    std::thread::park_timeout(INTERVAL.saturating_mul(2));
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let (known, unknown) = if color {
        (
            "{prefix} [{bar:30.cyan/dim}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left  {msg}",
            "{prefix} {spinner:.cyan} {binary_bytes}, {binary_bytes_per_sec}  {msg}",
        )
    } else {
        (
            "{prefix} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left  {msg}",
            "{prefix} {spinner} {binary_bytes}, {binary_bytes_per_sec}  {msg}",
        )
    };
    let style = |template| {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━━─")
    };
    // Until bytes come there is no speed to tell.
    bar.set_style(style("{prefix} {spinner}  {msg}"));
    bar.set_prefix(doing);
    let (mut has_begun, mut total_shown) = (false, 0);
    while !stop.load(Ordering::Relaxed) {
        let (bytes, total, message) = read();
        if bytes > 0 && !has_begun {
            has_begun = true;
            bar.set_style(style(unknown));
            bar.reset_elapsed();
        }
        if has_begun && total > total_shown {
            bar.set_style(style(known));
            bar.set_length(total);
            total_shown = total;
        }
        bar.set_position(bytes);
        bar.set_message(message);
        bar.tick();
        std::thread::park_timeout(INTERVAL);
    }
    bar.finish_and_clear();
}
