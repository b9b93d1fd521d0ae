//! How many threads an operator may use, the work's division among them, and reusable scratch.

use std::cell::{Cell, RefCell};

use candle_core::Result;
use rayon::prelude::*;

/// Buffers that a thread keeps for its next operator.
const KEPT_BUFFERS: usize = 8;

thread_local! {
    static THREADS: Cell<Option<usize>> = const { Cell::new(None) };
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with at most `threads` threads inside each operator called on this thread
/// (1: no rayon at all). The setting is this thread's own, so shards of a batch that run on a
/// thread each may all say 1. Results never depend on it.
pub fn with_threads<R>(threads: usize, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<usize>);
    impl Drop for Restore {
        fn drop(&mut self) {
            THREADS.set(self.0);
        }
    }
    let _restore = Restore(THREADS.replace(Some(threads.max(1))));
    work()
}

/// Threads that an operator may use here: [`with_threads`], else all of rayon's.
pub fn threads() -> usize {
    THREADS.get().unwrap_or_else(rayon::current_num_threads)
}

/// Lends a buffer of `len` floats of any content.
pub fn scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = BUFFERS
        .with_borrow_mut(|kept| {
            let fitting = kept.iter().position(|b| b.len() >= len);
            fitting.map(|i| kept.swap_remove(i))
        })
        .unwrap_or_else(|| vec![0.; len]);
    let result = work(&mut buffer[..len]);
    BUFFERS.with_borrow_mut(|kept| {
        if kept.len() == KEPT_BUFFERS
            && let Some(smallest) = (0..kept.len()).min_by_key(|&i| kept[i].len())
        {
            kept.swap_remove(smallest);
        }
        kept.push(buffer);
    });
    result
}

/// Calls `work(i, chunk, threads left inside)` for every chunk of `data`, in parallel where
/// allowed. The chunks are the same whatever the number of threads.
pub fn for_chunks<T: Send>(
    data: &mut [T],
    chunk: usize,
    work: impl Fn(usize, &mut [T], usize) -> Result<()> + Sync,
) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let threads = threads();
    let chunk = chunk.max(1);
    let count = data.len().div_ceil(chunk);
    if threads <= 1 || count <= 1 {
        for (i, part) in data.chunks_mut(chunk).enumerate() {
            work(i, part, threads)?;
        }
        return Ok(());
    }
    let each = count.div_ceil(threads.min(count));
    data.par_chunks_mut(each * chunk).enumerate().try_for_each(|(t, run)| {
        with_threads(1, || {
            for (i, part) in run.chunks_mut(chunk).enumerate() {
                work(t * each + i, part, 1)?;
            }
            Ok(())
        })
    })
}
