//! AutoencoderKL: pictures to latents and back.
//!
//! Source: diffusers `models/autoencoders/autoencoder_kl.py`, `models/autoencoders/vae.py`; Kingma & Welling 2013,
//! Rombach et al. 2022.
//! b batch · c latent channels · H, W picture height, width · h, w latent height, width

mod blocks;
mod config;
mod tiling;

pub use config::AutoencoderKLConfig;
pub use tiling::TileSize;

use crate::Result;
use crate::layers::Conv2d;
use blocks::{Decoder, Encoder};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

/// The network.
#[derive(Clone, Debug)]
pub struct AutoencoderKL {
    config: AutoencoderKLConfig,
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
}

/// The posterior of a picture's latent: a diagonal normal distribution, unscaled.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// `[b, c, h, w]`.
    pub mean: Tensor,
    /// Logarithm of the variance, in [-30, 20], `[b, c, h, w]`.
    pub logvar: Tensor,
}

impl AutoencoderKL {
    /// Reads the parameters; an error names the first that is missing or of the wrong shape.
    pub fn load(vb: &VarBuilder, config: &AutoencoderKLConfig) -> Result<Self> {
        config.check()?;
        let latent = config.latent_channels;
        Ok(Self {
            config: config.clone(),
            encoder: Encoder::load(&vb.pp("encoder"), config)?,
            quant_conv: config
                .use_quant_conv
                .then(|| Conv2d::load(&vb.pp("quant_conv"), 2 * latent, 2 * latent, 1))
                .transpose()?,
            post_quant_conv: config
                .use_post_quant_conv
                .then(|| Conv2d::load(&vb.pp("post_quant_conv"), latent, latent, 1))
                .transpose()?,
            decoder: Decoder::load(&vb.pp("decoder"), config)?,
        })
    }

    /// The configuration that it was built from.
    pub fn config(&self) -> &AutoencoderKLConfig {
        &self.config
    }

    /// Precision of the parameters, which it computes in; what goes in may have any, and comes out in the same.
    pub fn dtype(&self) -> DType {
        self.decoder.dtype()
    }

    /// Pictures `[b, 3, H, W]` in [-1, 1] → the posterior of their latents.
    pub fn encode(&self, sample: &Tensor) -> Result<Posterior> {
        self.posterior(&self.moments(sample)?)
    }

    /// `[b, 2c, h, w]`: means and log variances.
    fn moments(&self, sample: &Tensor) -> Result<Tensor> {
        let moments = self.encoder.forward(&sample.to_dtype(self.dtype())?)?;
        let moments = match &self.quant_conv {
            Some(convolution) => convolution.forward(&moments)?,
            None => moments,
        };
        Ok(moments.to_dtype(sample.dtype())?)
    }

    fn posterior(&self, moments: &Tensor) -> Result<Posterior> {
        let channels = self.config.latent_channels;
        Ok(Posterior {
            mean: moments.narrow(1, 0, channels)?.contiguous()?,
            logvar: moments.narrow(1, channels, channels)?.clamp(-30f64, 20f64)?,
        })
    }

    /// Latents `[b, c, h, w]`, unscaled → pictures `[b, 3, H, W]`, about [-1, 1].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let unscaled = latents.to_dtype(self.dtype())?;
        let unscaled = match &self.post_quant_conv {
            Some(convolution) => convolution.forward(&unscaled)?,
            None => unscaled,
        };
        Ok(self.decoder.forward(&unscaled)?.to_dtype(latents.dtype())?)
    }

    /// Unscaled latents → what the UNet sees: `(z - shift) · scale`.
    pub fn scale(&self, latents: &Tensor) -> Result<Tensor> {
        let shift = self.config.shift_factor.unwrap_or(0.0);
        Ok(((latents - shift)? * self.config.scaling_factor)?)
    }

    /// What the UNet sees → unscaled latents.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        let shift = self.config.shift_factor.unwrap_or(0.0);
        Ok(((latents / self.config.scaling_factor)? + shift)?)
    }
}
