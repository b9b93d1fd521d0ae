//! Waiting for work that the queue does, in this process or in another.

use std::time::Duration;

use builder::task::TaskContext;

use super::output;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How far a piece of work is.
pub(crate) struct Look<T> {
    /// It is over, with this.
    pub(crate) end: Option<T>,
    /// What it is at.
    pub(crate) what: String,
    /// Units done.
    pub(crate) done: i64,
    /// Units in all.
    pub(crate) total: i64,
}

/// Looks again and again, moving a bar, until the work is over.
///
/// # Errors
/// Those of `look`, and that this process was told to stop; the work then goes on when a worker runs again.
pub(crate) async fn until<T>(
    context: &TaskContext,
    mut look: impl AsyncFnMut() -> anyhow::Result<Look<T>>,
) -> anyhow::Result<T> {
    let bar = output::bar(0, "");
    loop {
        let now = look().await?;
        bar.set_message(now.what);
        bar.set_length(u64::try_from(now.total).unwrap_or(0));
        bar.set_position(u64::try_from(now.done).unwrap_or(0));
        if let Some(end) = now.end {
            bar.finish_and_clear();
            return Ok(end);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = context.shutdown.cancelled() => anyhow::bail!("stopped; the work goes on when a worker runs again"),
        }
    }
}
