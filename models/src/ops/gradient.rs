//! The way back, beside candle's own.
//!
//! Candle adds each gradient that an operator returns to zeros that it makes first. For a parameter of many megabytes these are
//! three writes of memory instead of one, so [`backward`] lets operators hand over the gradients of parameters here, where the
//! first one is taken as it is. Gradients of checkpointed parts, of which candle does not know, come the same way.

use std::cell::RefCell;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

thread_local! {
    /// Some while [`backward`] runs on this thread.
    static GATHERED: RefCell<Option<GradStore>> = const { RefCell::new(None) };
}

/// As candle's `backward`, with less memory, and with the gradients of checkpointed parts.
///
/// # Errors
/// Those of the operators.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    backward_onto(loss, GradStore::default())
}

/// `before` and the gradients of `loss`; what operators and parts hand over is added where it arises, so that nowhere all
/// gradients are there twice.
///
/// # Errors
/// Those of the operators.
pub fn backward_onto(loss: &Tensor, before: GradStore) -> Result<GradStore> {
    let outer = GATHERED.replace(Some(before));
    let store = loss.backward();
    let gathered = GATHERED.replace(outer);
    let mut store = store?;
    if let Some(gathered) = gathered {
        store.extend(gathered)?;
    }
    release(&mut store);
    Ok(store)
}

/// Cuts gradients off what they were computed from: candle's own may hang on every activation of the network.
fn release(store: &mut GradStore) {
    let ids: Vec<_> = store.get_ids().copied().collect();
    for id in ids {
        if let Some(gradient) = store.get_id(id).map(Tensor::detach) {
            store.insert_id(id, gradient);
        }
    }
}

/// What an operator returns to candle for its argument `of`: nothing, where that is a parameter and [`backward`] collects.
pub fn hand_over(of: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
    if !of.is_variable() {
        return Ok(Some(gradient));
    }
    GATHERED.with_borrow_mut(|gathered| match gathered {
        Some(gathered) => {
            let sum = match gathered.get(of) {
                Some(before) => (before + gradient)?.detach(),
                None => gradient,
            };
            gathered.insert(of, sum);
            Ok(None)
        }
        None => Ok(Some(gradient)),
    })
}

/// Adds the gradients of a part of the network to those of the [`backward`] that runs.
pub fn add(mut part: GradStore) -> Result<()> {
    release(&mut part);
    GATHERED.with_borrow_mut(|gathered| match gathered {
        Some(gathered) => gathered.extend(part),
        None => candle_core::bail!("the gradients of a checkpointed part need ops::backward"),
    })
}
