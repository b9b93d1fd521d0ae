//! Damaged models by the thousand: every one is refused with an error that names the file at fault, or does no harm; none
//! makes a panic, a hang or an allocation that fails.
//!
//! `make fuzz ARGS=600` does so for ten minutes from another seed. `corpus/` keeps the smallest file for each kind of error that
//! was met: `DIPTYCH_FUZZ_KEEP=1 make fuzz` adds what is new.

mod mutation;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use models::artifact::{LoraStyle, ModelSpec, write_lora};
use models::inspect;
use models::lora::LoraSettings;
use models::model_folder::{ModelFolder, Which};
use models::pipeline::Pipeline;
use models::run::{Inputs, Network, Settings, run};
use models::scene_graph_encoder::GraphText;
use models::scheduler::InverseLabel;
use models::weights::{TensorMap, read_folder, read_json, write_json};
use serde::{Deserialize, Serialize};

use super::texts::Random;
use super::{golden, root};

/// Seconds of a run that nobody asked for.
const SECONDS: u64 = 4;
/// A case that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Larger files are not kept.
const KEPT_BYTES: usize = 24_000;

/// A file of the corpus.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    /// Below `corpus/cases`.
    file: String,
    /// Which file of the base it stands for.
    slot: String,
    /// What the error said when it was kept, the folder left out; none where the damage does no harm.
    error: Option<String>,
}

fn corpus() -> PathBuf {
    root("tests/parity/corpus")
}

/// The base and what is derived from it, in a folder of their own.
struct Model {
    dir: tempfile::TempDir,
    inputs: BTreeMap<&'static str, Inputs>,
    /// Files by their names below the folder.
    files: BTreeMap<String, Vec<u8>>,
}

/// Adapters for the base's UNet.
const LORA: &str = "lora.safetensors";
/// What errors call the tensors that go in.
const INPUTS: &str = "in.safetensors";
/// What else an error may be about: a whole configuration may still be one of other sizes, or of fewer timesteps.
const ASKED: [&str; 2] = [INPUTS, "num_inference_steps"];
/// A single-file checkpoint.
const CHECKPOINT: &str = "checkpoint.safetensors";

fn copy(from: &Path, to: &Path, name: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let name = if name.is_empty() { file.to_owned() } else { format!("{name}/{file}") };
        if path.is_dir() {
            copy(&path, &to.join(file), &name, files);
        } else {
            let bytes = fs_err::read(&path).unwrap();
            fs_err::write(to.join(file), &bytes).unwrap();
            files.insert(name, bytes);
        }
    }
}

fn inputs(tensors: &[(&str, Tensor)]) -> Inputs {
    let tensors: TensorMap = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    Inputs::new(Path::new(INPUTS), tensors)
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

impl Model {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        copy(&corpus().join("base"), dir.path(), "", &mut files);
        let unet = read_folder(&dir.path().join("unet"), DType::F32, &Device::Cpu).unwrap();
        let settings = LoraSettings { rank: 2, alpha: 3., ..LoraSettings::default() };
        let adapters = settings.fresh_adapters(&unet, 0, &Device::Cpu).unwrap();
        let adapters = adapters.into_iter().map(|(name, var)| (name, var.into_inner())).collect();
        let (lora, spec) = (dir.path().join(LORA), ModelSpec::default());
        write_lora(&lora, LoraStyle::Diffusers, &adapters, &unet, &spec, DType::F16).unwrap();
        fs_err::copy(golden("original_sd15/model.safetensors"), dir.path().join(CHECKPOINT)).unwrap();
        for name in [LORA, CHECKPOINT] {
            files.insert(name.to_owned(), fs_err::read(dir.path().join(name)).unwrap());
        }
        let ids = Tensor::zeros((1, 77), DType::I64, &Device::Cpu).unwrap();
        let unet = [
            ("sample", ones(&[1, 4, 4, 4])),
            ("timestep", Tensor::new(&[3i64], &Device::Cpu).unwrap()),
            ("encoder_hidden_states", ones(&[1, 3, 8])),
            ("text_embeds", ones(&[1, 4])),
            ("time_ids", ones(&[1, 6])),
        ];
        let inputs = [
            ("unet", inputs(&unet)),
            ("encode", inputs(&[("sample", ones(&[1, 3, 8, 8]))])),
            ("decode", inputs(&[("latents", ones(&[1, 4, 4, 4]))])),
            ("ids", inputs(&[("input_ids", ids)])),
            ("none", inputs(&[])),
        ];
        Self { dir, inputs: inputs.into(), files }
    }

    fn run(&self, network: &Network, inputs: &str, settings: &Settings) -> models::Result<()> {
        run(network, self.dir.path(), &self.inputs[inputs], settings).map(drop)
    }

    /// Everything that reads the file in a slot.
    fn use_file(&self, slot: &str) -> models::Result<()> {
        let path = self.dir.path();
        let folder = ModelFolder::open(path)?;
        let plain = Settings::cpu();
        match slot.split('/').next().unwrap_or_default() {
            "unet" => self.run(&Network::Unet { gradients: false, checkpointing: false }, "unet", &plain),
            "vae" => {
                self.run(&Network::VaeEncode, "encode", &plain)?;
                self.run(&Network::VaeDecode, "decode", &plain)
            }
            "text_encoder" => self.run(&Network::TextEncoder(Which::First), "ids", &plain),
            "text_encoder_2" => self.run(&Network::TextEncoder(Which::Second), "ids", &plain),
            "scene_graph_encoder" => {
                let graph = GraphText { triples: vec![["a", "of", "b"].map(str::to_owned)], isolated: vec![] };
                self.run(&Network::SceneGraphEncoder(graph), "none", &plain)
            }
            name @ ("tokenizer" | "tokenizer_2") => {
                let which = if name == "tokenizer" { Which::First } else { Which::Second };
                folder.tokenizer(which)?.encode_padded("a red circle").map(drop)
            }
            "scheduler" => {
                let schedule = folder.schedule()?;
                schedule.ddim_steps(3, 0.5)?;
                schedule.ddim_inverse_steps(3, InverseLabel::Source)?;
                schedule.euler_steps(3).map(drop)
            }
            LORA => {
                let settings = Settings { lora: Some(path.join(LORA)), ..plain };
                self.run(&Network::Unet { gradients: false, checkpointing: false }, "unet", &settings)
            }
            CHECKPOINT => {
                let folder = ModelFolder::open(&path.join(CHECKPOINT))?;
                folder.unet(DType::F32, &Device::Cpu)?;
                folder.vae(DType::F32, &Device::Cpu)?;
                folder.text_encoder(Which::First, DType::F32, &Device::Cpu).map(drop)
            }
            _ => Pipeline::load(path, &Device::Cpu).map(drop),
        }
    }

    /// Puts `bytes` in a slot, uses them, and puts the good ones back: the error, if there was one.
    fn outcome(&self, slot: &str, bytes: &[u8]) -> Result<Option<String>, String> {
        let path = self.dir.path().join(slot);
        fs_err::write(&path, bytes).unwrap();
        let done = catch_unwind(AssertUnwindSafe(|| {
            // Looks at headers and configurations alone, and must never fail over a damaged component.
            let report = inspect::folder(self.dir.path()).map(drop);
            (self.use_file(slot), report)
        }));
        fs_err::write(&path, &self.files[slot]).unwrap();
        let Ok((used, report)) = done else { return Err("a panic".to_owned()) };
        if let (Err(error), true) = (&report, slot != "model_index.json") {
            return Err(format!("inspecting failed: {error}"));
        }
        let Err(error) = used else { return Ok(None) };
        let text = error.to_string();
        let component = slot.split('/').next().unwrap_or(slot);
        if text.contains(component) || ASKED.iter().any(|word| text.contains(word)) {
            Ok(Some(text))
        } else {
            Err(format!("an error that names nothing: {text}"))
        }
    }
}

/// What an error begins with, without numbers and what it quotes: its kind.
fn kind(slot: &str, error: Option<&str>) -> String {
    let text: String = error.unwrap_or("no harm").split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let words = text.split(|letter: char| !letter.is_ascii_alphabetic());
    let known = words.filter(|word| word.len() > 3 && word.bytes().all(|letter| letter.is_ascii_lowercase()));
    let ending = slot.rsplit('.').next().unwrap_or(slot);
    format!("{ending} {}", known.take(5).collect::<Vec<_>>().join(" "))
}

fn index() -> Vec<Kept> {
    read_json(&corpus().join("index.json")).unwrap()
}

#[test]
fn the_kept_corpus_is_refused_as_it_was() {
    let model = Model::new();
    let all = index();
    assert!(all.len() > 30, "{} files are kept", all.len());
    for kept in all {
        let bytes = fs_err::read(corpus().join("cases").join(&kept.file)).unwrap();
        let outcome = model.outcome(&kept.slot, &bytes).unwrap_or_else(|what| panic!("{}: {what}", kept.file));
        assert_eq!(outcome.is_some(), kept.error.is_some(), "{}: {outcome:?}, not {:?}", kept.file, kept.error);
    }
}

#[test]
fn damaged_models_are_refused() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let seconds = number("DIPTYCH_FUZZ_SECONDS").unwrap_or(SECONDS);
    let first = number("DIPTYCH_FUZZ_SEED").unwrap_or(0);
    let keep = number("DIPTYCH_FUZZ_KEEP").is_some();
    // An allocation that fails says nothing of its case.
    let trace = number("DIPTYCH_FUZZ_TRACE").is_some();
    let model = Model::new();
    for slot in model.files.keys() {
        assert_eq!(model.outcome(slot, &model.files[slot]), Ok(None), "{slot}, undamaged");
    }
    let slots: Vec<&String> = model.files.keys().collect();
    let current = Arc::new(AtomicU64::new(first));
    watch(&current);

    let mut kinds: BTreeMap<String, (String, Vec<u8>, Option<String>)> = BTreeMap::new();
    let (mut refused, mut harmless, mut faults) = (0, 0, Vec::new());
    let start = Instant::now();
    while start.elapsed().as_secs() < seconds {
        let seed = current.fetch_add(1, Ordering::Relaxed);
        let mut random = Random(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let slot = *mutation::pick(&mut random, &slots);
        if trace {
            eprintln!("seed {seed}, {slot}");
        }
        // The checkpoint takes as long as all others together.
        if slot == CHECKPOINT && random.below(8) > 0 {
            continue;
        }
        let other = &model.files[*mutation::pick(&mut random, &slots)];
        let bytes = mutation::damaged(&mut random, slot, &model.files[slot], other);
        match model.outcome(slot, &bytes) {
            Ok(error) => {
                if error.is_some() {
                    refused += 1;
                } else {
                    harmless += 1;
                }
                let kind = kind(slot, error.as_deref());
                let smaller = kinds.get(&kind).is_none_or(|(_, kept, _)| bytes.len() < kept.len());
                if keep && smaller && bytes.len() <= KEPT_BYTES {
                    kinds.insert(kind, (slot.clone(), bytes, error));
                }
            }
            Err(what) => {
                eprintln!("seed {seed}, {slot}: {what}");
                faults.push(format!("seed {seed}, {slot}: {what}"));
            }
        }
    }
    println!("{refused} refused, {harmless} without harm, seeds {first}..{}", current.load(Ordering::Relaxed));
    if keep {
        keep_new(&model, kinds);
    }
    assert!(faults.is_empty(), "{} faults, the first: {}", faults.len(), faults[0]);
    assert!(refused > 20 && harmless > 0, "{refused} refused, {harmless} without harm");
}

/// Ends the program where one case takes too long: nothing else can end it.
fn watch(current: &Arc<AtomicU64>) {
    let current = Arc::clone(current);
    std::thread::spawn(move || {
        let mut before = current.load(Ordering::Relaxed);
        loop {
            std::thread::sleep(PATIENCE);
            let now = current.load(Ordering::Relaxed);
            if Arc::strong_count(&current) == 1 {
                return;
            }
            if now == before {
                eprintln!("seed {} hangs", now.wrapping_sub(1));
                std::process::abort();
            }
            before = now;
        }
    });
}

fn keep_new(model: &Model, kinds: BTreeMap<String, (String, Vec<u8>, Option<String>)>) {
    let mut all = if corpus().join("index.json").exists() { index() } else { Vec::new() };
    let folder = model.dir.path().to_string_lossy().into_owned();
    let known: Vec<String> = all.iter().map(|kept| kind(&kept.slot, kept.error.as_deref())).collect();
    for (slot, bytes, error) in kinds.into_iter().filter(|(kind, _)| !known.contains(kind)).map(|(_, case)| case) {
        let ending = slot.rsplit('.').next().unwrap_or("bin");
        let file = format!("{:03}.{ending}", all.len());
        fs_err::create_dir_all(corpus().join("cases")).unwrap();
        fs_err::write(corpus().join("cases").join(&file), bytes).unwrap();
        let error = error.map(|text| text.replace(&folder, "MODEL"));
        all.push(Kept { file, slot, error });
    }
    write_json(&corpus().join("index.json"), &all).unwrap();
}
