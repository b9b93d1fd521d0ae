//! Linear layer, with or without a low-rank adapter beside it.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::lora::LoraLayer;
use crate::{Result, ops};

/// `weight [out, in]`, `bias [out]`, and the adapter that the weights hold for it.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    lora: Option<LoraLayer>,
}

impl Linear {
    /// Reads `weight`, if asked for `bias`, and, where it is there, the adapter `lora_A.weight`, `lora_B.weight`, `alpha`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    #[expect(clippy::needless_pass_by_value, reason = "a path is made for the layer and has no other use")]
    pub fn load(vb: VarBuilder, in_width: usize, out_width: usize, bias: bool) -> Result<Self> {
        Ok(Self {
            weight: vb.get((out_width, in_width), "weight")?,
            bias: bias.then(|| vb.get(out_width, "bias")).transpose()?,
            lora: LoraLayer::load_if_present(&vb, in_width, out_width)?,
        })
    }

    /// `[.., in]` → `[.., out]`.
    ///
    /// # Errors
    /// `x` does not end in `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::linear(x, &self.weight, self.bias.as_ref())?;
        match &self.lora {
            None => Ok(y),
            Some(lora) => Ok((y + lora.forward(x)?)?),
        }
    }

    /// What [`forward`](Self::forward) gives for zeros, with the leading dimensions and the type of `like [.., _]`.
    ///
    /// # Errors
    /// `like` has no dimensions.
    pub fn forward_zeros(&self, like: &Tensor) -> Result<Tensor> {
        let mut shape = like.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        match &self.bias {
            Some(bias) => Ok(bias.broadcast_as(shape)?.contiguous()?),
            None => Ok(Tensor::zeros(shape, like.dtype(), like.device())?),
        }
    }
}
