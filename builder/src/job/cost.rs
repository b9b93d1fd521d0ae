//! What a job costs, in image-forwards: one evaluation of a noise predictor on one image. The paper counts optimizer steps,
//! which differ between objectives by two orders of magnitude; experiments that are to be fair count these.

use models::pipeline::SampleSettings;

use super::{JobSpec, Objective, PathChoice};

impl JobSpec {
    /// Image-forwards of one optimizer step: policy and reference on every image that is asked, twice with guidance.
    pub fn image_forwards_per_step(&self, sampling: SampleSettings) -> f64 {
        let pairs = (self.batch_size * self.gradient_accumulation_steps) as f64;
        pairs * self.objective.parts().into_iter().map(|part| per_pair(part, sampling)).sum::<f64>()
    }

    /// Image-forwards before the first step, for the paths of `num_images` images; a path that is kept is free.
    pub fn image_forwards_before(&self, sampling: SampleSettings, num_images: usize) -> f64 {
        let parts = self.objective.parts();
        num_images as f64 * parts.into_iter().map(|part| path_of_image(part, sampling)).sum::<f64>()
    }
}

fn with_guidance(scale: f64) -> f64 {
    if scale == 1.0 { 1.0 } else { 2.0 }
}

/// Policy and reference on both images.
const ALL_FOUR: f64 = 4.0;

fn per_pair(objective: &Objective, sampling: SampleSettings) -> f64 {
    match objective {
        Objective::InversionDpo { path, num_timesteps, num_inversion_steps, .. } => {
            let length = match path {
                PathChoice::Inverted => *num_inversion_steps,
                PathChoice::Auto | PathChoice::Recorded => sampling.num_inference_steps,
            };
            ALL_FOUR * if *num_timesteps == 0 { length } else { (*num_timesteps).min(length) } as f64
        }
        Objective::InversionDpoPublished { num_inversion_steps, inversion_guidance_scale, .. } => {
            ALL_FOUR * *num_inversion_steps as f64 * with_guidance(*inversion_guidance_scale)
        }
        // The script's own guidance is 2.
        Objective::InversionDpoOfficial { num_inversion_steps, .. } => ALL_FOUR * *num_inversion_steps as f64 * 2.0,
        Objective::SingleTimestep { inversion_guidance_scale, .. } => {
            ALL_FOUR * with_guidance(*inversion_guidance_scale)
        }
        Objective::DiffusionDpo {} => ALL_FOUR,
        // Both images are inverted by the policy, half of the way on average.
        Objective::Inpo { num_inversion_steps, .. } => ALL_FOUR + *num_inversion_steps as f64,
        Objective::D3po { guidance_scale, .. } => ALL_FOUR * with_guidance(*guidance_scale),
        // The winner alone; the reference only for the drift.
        Objective::Sft {} => 2.0,
        Objective::Mixture { .. } => 0.0,
    }
}

fn path_of_image(objective: &Objective, sampling: SampleSettings) -> f64 {
    match objective {
        Objective::InversionDpo {
            path: PathChoice::Inverted, num_inversion_steps, inversion_guidance_scale, ..
        }
        | Objective::InversionDpoPublished { num_inversion_steps, inversion_guidance_scale, .. }
        | Objective::SingleTimestep { num_inversion_steps, inversion_guidance_scale, .. } => {
            *num_inversion_steps as f64 * with_guidance(*inversion_guidance_scale)
        }
        Objective::InversionDpo { .. } => sampling.num_inference_steps as f64 * with_guidance(sampling.guidance_scale),
        Objective::InversionDpoOfficial { num_inversion_steps, .. } => *num_inversion_steps as f64 * 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Start;
    use uuid::Uuid;

    #[test]
    fn known_costs() {
        let sampling = SampleSettings { num_inference_steps: 10, guidance_scale: 3.0 };
        let spec = |objective| JobSpec { batch_size: 2, ..JobSpec::new(Uuid::nil(), objective) };
        let costs = |objective| {
            let spec = spec(objective);
            (spec.image_forwards_per_step(sampling), spec.image_forwards_before(sampling, 3))
        };
        assert_eq!(costs(Objective::DiffusionDpo {}), (8.0, 0.0));
        assert_eq!(costs(Objective::Sft {}), (4.0, 0.0));
        assert_eq!(costs(Objective::inversion_dpo()), (8.0, 60.0));
        assert_eq!(costs(Objective::inverted(50)), (8.0, 150.0));
        // 2N of Diffusion-DPO's, as the specification has it for N = 80.
        assert_eq!(costs(Objective::published(Start::WarmUp(1), 80)), (8.0 * 160.0, 480.0));
        let mixture = Objective::Mixture {
            first: Box::new(Objective::Sft {}),
            second: Box::new(Objective::DiffusionDpo {}),
            weight: 0.5,
            betas: [None, None],
        };
        assert_eq!(costs(mixture), (12.0, 0.0));
    }
}
