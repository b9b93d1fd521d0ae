//! Gradient checkpointing: Chen et al. 2016, arXiv 1604.06174. A part of a network keeps only what goes into it; the way back
//! computes the part again.
//!
//! Candle's operators have at most three inputs and hand gradients to these alone. So the part is one operator of its input,
//! everything else that it reads (parameters, the time embedding, the conditioning) it holds itself, and the gradients
//! of those are gathered beside candle's until [`super::backward`] adds them up.

use std::cell::Cell;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, Var};

use super::gradient;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, [`checkpoint`] keeps inputs alone on this thread.
pub struct Checkpoints {
    before: bool,
}

/// Switches checkpointing on or off for as long as the result lives.
pub fn checkpoints(on: bool) -> Checkpoints {
    Checkpoints { before: ON.replace(on) }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        ON.set(self.before);
    }
}

/// Whether [`checkpoint`] keeps inputs alone here: where it is switched on, and `x` depends on something that learns.
/// (An operator of what does not has no way back, and the parameters of the part would get no gradient.)
pub fn keeps_input_alone(x: &Tensor) -> bool {
    ON.get() && x.track_op()
}

/// `part(x)`, of which only `x` is kept; its gradients come out of [`super::backward`].
///
/// # Errors
/// Those of `part`.
pub fn checkpoint(x: &Tensor, part: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static) -> Result<Tensor> {
    let y = part(&x.detach())?.detach();
    x.contiguous()?.apply_op2(&y.contiguous()?, Checkpoint { part: Arc::new(part) })
}

type Part = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

struct Checkpoint {
    part: Arc<Part>,
}

impl CustomOp2 for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    /// The part was computed before; its result goes through.
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, y: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((y.try_clone(layout)?, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        y: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((y.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let x = Var::from_tensor(&x.detach())?;
        let product = ((self.part)(x.as_tensor())? * dy)?.to_dtype(DType::F32)?.sum_all()?;
        let mut store = product.backward()?;
        let dx = store.remove(x.as_tensor()).map(|dx| dx.detach());
        // Candle made a gradient for the cotangent too, which nobody asked for.
        store.remove(dy);
        gradient::add(store)?;
        Ok((dx, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use candle_core::backprop::GradStore;

    #[test]
    fn gradients_are_those_without() {
        let var = |values: &[f32]| Var::new(values, &Device::Cpu).unwrap();
        let (x, weight, shared) = (var(&[0.3, -0.7, 1.1]), var(&[0.5, 2., -1.]), var(&[1., 0.1, 0.4]));
        let loss = |kept: bool| {
            let _checkpoints = checkpoints(kept);
            let mut y = (x.as_tensor() * 2.).unwrap();
            // What the parts read beside their input may itself have a past, and be read twice.
            let side = shared.as_tensor().sqr().unwrap();
            for _ in 0..2 {
                let (weight, side) = (weight.as_tensor().clone(), side.clone());
                let part = move |x: &Tensor| (x.mul(&weight)?.sin()? + x.mul(&side)?)?.sqr();
                y = if keeps_input_alone(&y) { checkpoint(&y, part).unwrap() } else { part(&y).unwrap() };
            }
            y.sum_all().unwrap()
        };
        let (plain, kept) = (loss(false), loss(true));
        assert_eq!(plain.to_scalar::<f32>().unwrap(), kept.to_scalar::<f32>().unwrap());
        let kept_loss = kept;
        let (plain, kept) = (plain.backward().unwrap(), gradient::backward(&kept_loss).unwrap());
        let hangs = |id: candle_core::TensorId| kept.get_id(id).is_some_and(Tensor::track_op);
        assert!(!kept.get_ids().any(|id| hangs(*id)), "a gradient holds what it was computed from");
        assert_eq!(kept.get_ids().count(), 3, "parameters alone");
        for variable in [&x, &weight, &shared] {
            let of = |store: &GradStore| store.get(variable.as_tensor()).unwrap().to_vec1::<f32>().unwrap();
            for (a, b) in of(&plain).into_iter().zip(of(&kept)) {
                assert!((a - b).abs() <= 1e-5 * a.abs().max(1.), "{a} {b}");
            }
        }
        assert!(kept_loss.backward().is_err(), "gradients of parts would be lost");
    }

    #[test]
    fn what_does_not_learn_is_not_kept() {
        let x = Tensor::new(&[1f32], &Device::Cpu).unwrap();
        let _checkpoints = checkpoints(true);
        assert!(!keeps_input_alone(&x));
        assert!(keeps_input_alone(&(Var::from_tensor(&x).unwrap().as_tensor() * 1.).unwrap()));
    }
}
