//! Data-parallel gradients: shards of a batch on threads of their own, added up in the order of the shards.
//!
//! Every operator runs single-threaded inside a shard, so the result depends on how the batch was cut,
//! never on how many threads there are.

use super::gradients::Gradients;
use crate::weights::VarMap;
use crate::{Result, ops};
use candle_core::{Device, Tensor};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads to use: as many as the pool has that everything else computes on.
pub fn num_threads() -> usize {
    rayon::current_num_threads()
}

/// Applies `work` to every item on up to [`num_threads`] threads; results in the order of the items. An accelerator, which
/// one item fills, gets them one after the other.
///
/// The first error, by the order of the items, is returned.
pub fn map<T: Sync, R: Send>(device: &Device, items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    if !device.is_cpu() {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<R>>>> = Mutex::new(items.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..num_threads().min(items.len()) {
            scope.spawn(|| {
                ops::with_threads(1, || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else { break };
                        let result = work(item);
                        if let Some(slot) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
                            *slot = Some(result);
                        }
                    }
                });
            });
        }
    });
    results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(crate::Error::Training("a worker thread ended early".to_owned()))))
        .collect()
}

/// Sum over the shards of the gradients of their losses, and what each shard reports beside its loss.
///
/// `loss` returns a scalar that is already weighted by the shard's share of the batch.
pub fn accumulate<T: Sync, R: Send>(
    vars: &VarMap,
    shards: &[T],
    loss: impl Fn(&T) -> Result<(Tensor, R)> + Sync,
) -> Result<(Gradients, Vec<R>)> {
    let device = vars.values().next().map_or(&Device::Cpu, |var| var.device());
    let parts = map(device, shards, |shard| {
        let (loss, report) = loss(shard)?;
        Ok((Gradients::of(vars, &loss)?, report))
    })?;
    let mut sum = Gradients::default();
    let mut reports = Vec::with_capacity(parts.len());
    for (part, report) in parts {
        sum.add(part)?;
        reports.push(report);
    }
    Ok((sum, reports))
}
