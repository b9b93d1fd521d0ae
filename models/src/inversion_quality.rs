//! How good an inversion is: does its end look like the noise that sampling starts from, and does sampling lead back?
//!
//! An inversion that reconstructs well can still end in something that is not white noise, and training on its path then
//! trains states that sampling never visits.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::pipeline::{Conditioning, Pipeline, SampleSettings};
use crate::scheduler::InverseLabel;

/// Means over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InversionQuality {
    /// Standard deviation of the path's last state; 1 for noise.
    pub terminal_std: f64,
    /// Correlation of neighbouring elements of the path's last state, horizontally and vertically; 0 for noise.
    pub terminal_autocorrelation: f64,
    /// Mean square of the difference between the latent and what sampling makes of the path's last state.
    pub reconstruction_error: f64,
    /// Variance of the latents, for comparison.
    pub latent_variance: f64,
}

/// Inverts `latents` `[b, c, h, w]` and samples back with the same steps and guidance.
///
/// # Errors
/// Shapes that do not fit, or steps that the schedule has not.
pub fn measure(
    reference: &Pipeline,
    latents: &Tensor,
    conditioning: &Conditioning,
    settings: SampleSettings,
    label: InverseLabel,
) -> Result<InversionQuality> {
    let inversions = reference.invert_many(latents, conditioning, settings, label)?;
    let ends: Vec<&Tensor> = inversions.iter().filter_map(|inversion| inversion.trajectory.last()).collect();
    let terminal = Tensor::cat(&ends, 0)?;
    let back = reference.sample_from(&terminal, conditioning, settings)?;
    of_round_trip(latents, &terminal, &back)
}

/// Of `latents` `[b, c, h, w]`, the last states of their inversions, and what sampling makes of those.
///
/// # Errors
/// The shapes differ, or are not of four dimensions.
pub fn of_round_trip(latents: &Tensor, terminal: &Tensor, back: &Tensor) -> Result<InversionQuality> {
    let error = (back - latents)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
    Ok(InversionQuality {
        reconstruction_error: f64::from(error),
        latent_variance: moments(&latents.flatten_all()?.to_vec1()?).1,
        ..of_noise(terminal)?
    })
}

/// What can be said of a path's last state `[b, c, h, w]` alone.
///
/// # Errors
/// It is not of four dimensions.
pub fn of_noise(terminal: &Tensor) -> Result<InversionQuality> {
    let (b, c, h, w) = terminal.dims4()?;
    let values = terminal.flatten_all()?.to_vec1::<f32>()?;
    let (mean, variance) = moments(&values);
    let at = |plane: usize, y: usize, x: usize| f64::from(values[(plane * h + y) * w + x]) - mean;
    let (mut sum, mut count) = (0.0, 0.0);
    for plane in 0..b * c {
        for y in 0..h {
            for x in 0..w {
                for (down, right) in [(0, 1), (1, 0)] {
                    if y + down < h && x + right < w {
                        sum += at(plane, y, x) * at(plane, y + down, x + right);
                        count += 1.0;
                    }
                }
            }
        }
    }
    Ok(InversionQuality {
        terminal_std: variance.sqrt(),
        terminal_autocorrelation: sum / f64::max(count, 1.0) / variance.max(f64::MIN_POSITIVE),
        ..InversionQuality::default()
    })
}

fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    (mean, values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use std::path::Path;

    #[test]
    fn noise_has_no_correlation_and_a_ramp_has() {
        let values: Vec<f32> = (0..64).map(|i| (i % 8) as f32).collect();
        let ramp = of_noise(&Tensor::from_vec(values, (1, 1, 8, 8), &Device::Cpu).unwrap()).unwrap();
        assert!(ramp.terminal_autocorrelation > 0.6, "{ramp:?}");
        let noise = Tensor::randn(0f32, 1., (16, 4, 8, 8), &Device::Cpu).unwrap();
        let noise = of_noise(&noise).unwrap();
        assert!((noise.terminal_std - 1.0).abs() < 0.1 && noise.terminal_autocorrelation.abs() < 0.1, "{noise:?}");
    }

    #[test]
    fn more_steps_reconstruct_better() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
        let reference = Pipeline::load(&folder, &Device::Cpu).unwrap();
        let graph = crate::scene_graph_encoder::GraphText {
            triples: vec![["red circle", "left of", "blue square"].map(str::to_owned)],
            isolated: Vec::new(),
        };
        let conditioning = reference.encode_graphs(&[graph], crate::pipeline::GraphMode::SceneGraph).unwrap();
        let sampling = SampleSettings { num_inference_steps: 10, guidance_scale: 1.0 };
        let conditioning = conditioning.select(&[0, 0]).unwrap();
        let latents = reference.sample(&conditioning, &[1, 2], sampling).unwrap();
        let error = |steps| {
            let settings = SampleSettings { num_inference_steps: steps, guidance_scale: 1.0 };
            let found = measure(&reference, &latents, &conditioning, settings, InverseLabel::Destination).unwrap();
            assert!(found.latent_variance > 0.0);
            found.reconstruction_error
        };
        assert!(error(40) < error(5), "{} {}", error(40), error(5));
    }
}
