//! What is wanted of a running job from outside, as flags that the training thread can look at after every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::job::JobState;
use crate::store::job;
use crate::task::TaskContext;
use crate::{Error, Result};

/// Much below the second within which a request shall be seen, and one small query.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the worker shall do with the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Wish {
    GoOn = 0,
    Pause = 1,
    Cancel = 2,
    /// The process stops.
    Release = 3,
}

#[derive(Debug, Default)]
pub(super) struct Flags {
    wish: AtomicU8,
    save: AtomicBool,
    sample: AtomicBool,
}

impl Flags {
    fn wish(&self) -> Wish {
        match self.wish.load(Ordering::Relaxed) {
            1 => Wish::Pause,
            2 => Wish::Cancel,
            3 => Wish::Release,
            _ => Wish::GoOn,
        }
    }

    /// Whether the present slice of work should end now.
    pub(super) fn wants_attention(&self) -> bool {
        self.wish() != Wish::GoOn || self.save.load(Ordering::Relaxed) || self.sample.load(Ordering::Relaxed)
    }

    /// Whether the job should be let go.
    pub(super) fn wants_to_stop(&self) -> bool {
        self.wish() != Wish::GoOn
    }
}

/// A background look at the job's row.
pub(super) struct Control {
    flags: Arc<Flags>,
    watcher: JoinHandle<()>,
}

impl Control {
    /// Starts to watch the job `id`.
    pub(super) fn watch(context: &TaskContext, id: Uuid) -> Self {
        let flags = Arc::new(Flags::default());
        let watcher = tokio::spawn(look(context.clone(), id, Arc::clone(&flags)));
        Self { flags, watcher }
    }

    pub(super) fn flags(&self) -> Arc<Flags> {
        Arc::clone(&self.flags)
    }

    /// # Errors
    /// `Stopped` when the job shall be let go.
    pub(super) fn check(&self) -> Result<()> {
        if self.flags.wants_to_stop() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Whether a checkpoint was asked for since the last call.
    pub(super) fn take_save(&self) -> bool {
        self.flags.save.swap(false, Ordering::Relaxed)
    }

    /// Whether sample pictures were asked for since the last call.
    pub(super) fn take_sample(&self) -> bool {
        self.flags.sample.swap(false, Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.watcher.abort();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

async fn look(context: TaskContext, id: Uuid, flags: Arc<Flags>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = context.shutdown.cancelled() => {
                // A wish that was there first stays: the job is then paused or cancelled, not put back.
                let _ = flags.wish.compare_exchange(
                    Wish::GoOn as u8,
                    Wish::Release as u8,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                return;
            }
        }
        if let Err(error) = look_once(&context, id, &flags).await {
            // The store is away for a moment; the work itself will notice if it stays away.
            tracing::debug!(job = %id, %error, "could not look at the job");
        }
    }
}

async fn look_once(context: &TaskContext, id: Uuid, flags: &Flags) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    let Some(job) = job::find(&mut connection, id).await? else {
        flags.wish.store(Wish::Cancel as u8, Ordering::Relaxed);
        return Ok(());
    };
    let wish = match job.state {
        JobState::Pausing => Wish::Pause,
        JobState::Cancelling | JobState::Cancelled | JobState::Failed => Wish::Cancel,
        // Back from `pausing`, or never away.
        _ => Wish::GoOn,
    };
    flags.wish.store(wish as u8, Ordering::Relaxed);
    if job.save_requested {
        job::clear_save_request(&mut connection, id).await?;
        flags.save.store(true, Ordering::Relaxed);
    }
    if job.sample_requested {
        job::clear_sample_request(&mut connection, id).await?;
        flags.sample.store(true, Ordering::Relaxed);
    }
    Ok(())
}
