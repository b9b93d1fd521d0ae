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

/// Stops candle from dividing its own elementwise operators (64 Ki elements or more) among threads.
///
/// Candle does so by one global pool behind one lock, which shards on threads of their own would
/// queue up for, and which waits for the slowest processor. Call this first in `main`, before any
/// thread starts or any tensor is made; false when candle's pool had already been made otherwise.
pub fn divide_no_candle_operator() -> bool {
    #[expect(unsafe_code, reason = "candle reads the pool's size from the environment alone")]
    // SAFETY: called before other threads exist (documented), so nobody reads the environment meanwhile.
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    candle_core::utils::barrier_pool().n_workers() == 0
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
