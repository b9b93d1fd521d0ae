//! `diptych model`: folders and networks from outside.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::diptych;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn golden(path: &str) -> PathBuf {
    root("tests/parity/golden").join(path)
}

#[test]
fn tokenize_prints_77_ids() {
    let run = |second: &[&str], text: &str| -> Vec<u32> {
        let output = diptych()
            .args(["model", "tokenize", "--model"])
            .arg(golden("sdxl/model"))
            .args(second)
            .arg(text)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = run(&[], "red circle");
    let second = run(&["--second"], "red circle");
    assert_eq!((first.len(), second.len()), (77, 77));
    assert_eq!(first[..4], second[..4]);
    assert_eq!((first[3], first[76]), (first[3], first[3]), "the first pads with the end token");
    assert_eq!(second[76], 0, "the second pads with `!`");
    assert_ne!(run(&[], "-x"), first);
}

#[test]
fn inspect_counts_and_says_what_is_missing() {
    let run = |folder: &Path| {
        let output = diptych().args(["model", "inspect", "--json"]).arg(folder).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    let (code, report) = run(&golden("sdxl/model"));
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["pipeline"], "StableDiffusionXLPipeline");
    let unet = report["components"].as_array().unwrap().iter().find(|part| part["name"] == "unet").unwrap();
    assert_eq!(unet["precision"], serde_json::json!(["F16"]));
    assert!(unet["parameters"].as_u64().unwrap() > 100_000, "{unet}");

    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(folder.path().join("unet")).unwrap();
    fs_err::copy(golden("sdxl/model/unet/config.json"), folder.path().join("unet/config.json")).unwrap();
    let (code, report) = run(folder.path());
    assert_eq!(code, Some(1));
    let missing: Vec<&str> = report["missing"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(["vae", "text_encoder_2", "scheduler"].iter().all(|name| missing.contains(name)), "{missing:?}");
    assert!(report["components"][0]["faults"][0].as_str().unwrap().contains("no weights here"), "{report}");
    assert_eq!(run(Path::new("/nowhere")).0, Some(1));
}

#[test]
fn run_times_writes_and_needs_only_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs_err::create_dir_all(model.join("unet")).unwrap();
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        fs_err::copy(golden("sdxl/model/unet").join(file), model.join("unet").join(file)).unwrap();
    }
    let output = folder.path().join("out.safetensors");
    let run = |arguments: &[&str]| {
        let mut command = diptych();
        command.args(["model", "run"]).args(arguments).arg("--model").arg(&model).arg("--output").arg(&output);
        command.arg("--input").arg(golden("sdxl/unet.in.safetensors"));
        command.output().unwrap()
    };
    let done = run(&["unet", "--grad", "--repeat", "3", "--threads", "1"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let timing: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(timing["repeats"], 3);
    assert!(timing["median_seconds"].as_f64() >= timing["min_seconds"].as_f64(), "{timing}");
    let written = models::weights::SafetensorsFile::open(&output).unwrap();
    let expected = models::weights::SafetensorsFile::open(&golden("sdxl/unet.out.safetensors")).unwrap();
    assert!(written.entries().keys().eq(expected.entries().keys()));

    for (arguments, code, word) in [
        (&["vae_decode"][..], 1, "vae"),
        (&["vae_decode", "--grad"], 2, "--grad"),
        (&["scene_graph_encoder"], 2, "--graph"),
        (&["unet", "--device", "cuda:0"], 1, "cuda"),
        (&["unet", "--device", "abacus"], 1, "abacus"),
        (&["nonsense"], 2, "nonsense"),
        (&["ddim_sample", "--steps", "0"], 2, "--steps"),
    ] {
        let done = run(arguments);
        let text = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn a_graph_is_encoded_from_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let graph = folder.path().join("graph.json");
    let record = serde_json::json!({
        "img_id": "1", "name": "1.jpg", "caption_ori": "",
        "items": [
            {"item_id": 0, "label": "circle", "attributes": ["large", "red"], "global_item_id": 0},
            {"item_id": 1, "label": "square", "attributes": ["small", "blue"], "global_item_id": 1},
        ],
        "relations": [{"triple_id": 0, "item1": 0, "relation": "left of", "item2": 1, "global_relation_id": 0}],
    });
    fs_err::write(&graph, serde_json::to_string_pretty(&record).unwrap()).unwrap();
    for (model, width, pooled) in [("sdxl", 40, 12), ("sd15", 24, 24)] {
        let output = folder.path().join("out.safetensors");
        let done = diptych()
            .args(["model", "run", "scene_graph_encoder", "--model"])
            .arg(golden(model).join("model"))
            .arg("--graph")
            .arg(&graph)
            .arg("--output")
            .arg(&output)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let written = models::weights::SafetensorsFile::open(&output).unwrap();
        assert_eq!(written.entries()["encoder_hidden_states"].shape, [1, 77, width]);
        assert_eq!(written.entries()["text_embeds"].shape, [1, pooled]);
    }
}

/// Loading takes the memory of the weights in their precision of computation, and at most a tenth more.
#[cfg(target_os = "linux")]
#[test]
fn loading_takes_the_memory_of_the_weights() {
    use candle_core::{DType, Device, Tensor};
    use models::clip::{ClipTextConfig, ClipTextModel};
    use models::weights::{FreshParameters, write_file, write_json};

    let peak = |width: usize, layers: usize, stored: DType| {
        let folder = tempfile::tempdir().unwrap();
        let config = ClipTextConfig {
            architectures: vec!["CLIPTextModel".to_owned()],
            vocab_size: 49408,
            hidden_size: width,
            intermediate_size: 4 * width,
            projection_dim: width,
            num_hidden_layers: layers,
            num_attention_heads: 8,
            ..ClipTextConfig::default()
        };
        let (_, vars) = FreshParameters::build(0, &Device::Cpu, |vb| ClipTextModel::load(&vb, &config)).unwrap();
        let weights = vars.into_iter().map(|(name, var)| (name, var.into_inner())).collect();
        let bytes: usize = models::weights::TensorMap::values(&weights).map(|tensor| 4 * tensor.elem_count()).sum();
        let dir = folder.path().join("text_encoder");
        write_file(&dir.join("model.safetensors"), &weights, stored).unwrap();
        write_json(&dir.join("config.json"), &config).unwrap();
        let input = folder.path().join("in.safetensors");
        let ids = Tensor::zeros((1, 2), DType::I64, &Device::Cpu).unwrap();
        write_file(&input, &[("input_ids".to_owned(), ids)].into(), DType::F32).unwrap();
        let mut command = diptych();
        command.args(["model", "run", "text_encoder", "--json", "--model"]).arg(folder.path());
        command.arg("--input").arg(&input).arg("--output").arg(folder.path().join("out.safetensors"));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        (report["peak_memory_bytes"].as_u64().unwrap(), bytes as u64)
    };
    let (small, small_bytes) = peak(8, 1, DType::F32);
    for stored in [DType::F32, DType::F16] {
        // The size of SD1.5's text encoder.
        let (whole, bytes) = peak(768, 12, stored);
        assert!(bytes > 450_000_000, "{bytes}");
        let loaded = whole - (small - small_bytes);
        assert!(loaded * 10 <= bytes * 11, "{loaded} bytes for weights of {bytes}, stored as {stored:?}");
    }
}

/// A published script's memory grows with T; ours is that of one timestep (the spread that is left is the allocator's).
#[test]
fn the_memory_of_a_step_does_not_grow_with_its_timesteps() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny");
    let args = ["--json", "model", "memory", "--model", model, "--timesteps", "10,80", "--batch-size", "2"];
    let output = diptych().args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = super::lines(&output.stdout).remove(0);
    let peak = |row: usize| found["rows"][row]["peak_mib"].as_f64().unwrap();
    assert!(peak(0) > 50.0 && peak(1) < 1.1 * peak(0), "{found}");
}
