//! The model card of a trained model: what it is, what it came from, how it scores, how to load it. The front matter is that
//! of model hubs.

use serde_json::Value;
use std::fmt::Write as _;

use super::report;
use crate::job::JobSpec;

/// What the card says beside the report.
pub(super) struct Subject<'a> {
    pub spec: &'a JobSpec,
    /// The job's report, with evaluation and lineage.
    pub report: &'a Value,
    /// Names of the files beside it.
    pub files: &'a [&'a str],
}

/// The `README.md` of a merged folder and of a job's artifacts.
pub(super) fn card(subject: &Subject) -> String {
    let Subject { spec, report, files } = subject;
    let lineage = &report["lineage"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let base = text(&lineage["model_name"]);
    let tags = if spec.trainable.has_adapters() { "diffusers, dpo, lora" } else { "diffusers, dpo" };
    let objective = report["objective"].as_str().unwrap_or("an objective");
    let mut out = format!(
        "---\nlibrary_name: diffusers\npipeline_tag: text-to-image\nbase_model: {}\ntags: [{tags}]\n---\n# {}\n\n",
        serde_json::to_string(&base).unwrap_or_default(),
        spec.name,
    );
    let _ = writeln!(
        out,
        "`{base}` after preference training with `{objective}` on {} pairs of scored images of the same scene graphs: {} \
         steps of {} pairs, of which those of step {} are kept. Trained: {}.\n",
        lineage["pairs"],
        report["training_steps"],
        spec.batch_size * spec.gradient_accumulation_steps,
        report["chosen_step"],
        spec.trainable.kind(),
    );
    out.push_str("## Scores\n\n");
    out.push_str(&report::scores(report));
    out.push_str("## Lineage\n\n| | |\n| --- | --- |\n");
    for (name, key) in [
        ("reference (SHA-256 of its weights)", "model_hash"),
        ("pairing (SHA-256 of policy and pairs)", "pairing_hash"),
        ("trained weights (SHA-256)", "weights_sha256"),
        ("job", "job_id"),
    ] {
        let _ = writeln!(out, "| {name} | `{}` |", text(&lineage[key]));
    }
    let _ = writeln!(out, "| pairing policy | `{}` |", lineage["policy"]);
    out.push_str("\n## Files\n\n");
    for file in *files {
        let about = match *file {
            "unet.safetensors" => "the trained parameters alone, in Diptych's names",
            "pytorch_lora_weights.safetensors" => "the LoRA for diffusers: `pipe.load_lora_weights(FOLDER)`",
            "lora_kohya.safetensors" => "the same LoRA in kohya's keys, for ComfyUI and the like",
            "scene_graph_encoder.safetensors" => "the trained scene-graph encoder alone",
            "model.zip" => "the whole model with the training merged in: `DiffusionPipeline.from_pretrained(FOLDER)`",
            "report.md" => "the report with its plots",
            _ => continue,
        };
        let _ = writeln!(out, "- `{file}`: {about}");
    }
    let settings = serde_json::to_string_pretty(spec).unwrap_or_default();
    let _ = writeln!(out, "\n## Settings\n\n```json\n{settings}\n```");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Objective;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn a_card_names_what_it_came_from() {
        let spec = JobSpec::new(Uuid::from_u128(1), Objective::DiffusionDpo {});
        let report = json!({
            "objective": "diffusion-dpo", "training_steps": 300, "chosen_step": 200,
            "lineage": {"model_name": "tiny", "model_hash": "aaa", "pairing_hash": "bbb", "pairs": 9, "policy": {"weights": {"dpg": 1}},
                "weights_sha256": "ccc", "job_id": "ddd"},
        });
        let text = card(&Subject { spec: &spec, report: &report, files: &["unet.safetensors", "model.zip"] });
        for part in [
            "base_model: \"tiny\"",
            "`diffusion-dpo`",
            "9 pairs",
            "step 200",
            "`aaa`",
            "`bbb`",
            "`ccc`",
            "from_pretrained",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("load_lora_weights"));
    }
}
