//! Files that are cut off, mislabelled or filled with NaN: an error that names file and tensor, never a panic.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use models::Error;
use models::inspect;
use models::run::{Inputs, Network, Settings, run};

use super::golden;

/// A copy of the `sd15` folder's VAE, small enough to damage often.
struct Damaged {
    dir: tempfile::TempDir,
}

impl Damaged {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("vae")).unwrap();
        for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
            fs_err::copy(golden("sd15/model/vae").join(file), dir.path().join("vae").join(file)).unwrap();
        }
        Self { dir }
    }

    fn weights(&self) -> PathBuf {
        self.dir.path().join("vae/diffusion_pytorch_model.safetensors")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("vae/config.json")
    }

    /// The error of decoding, which must be one.
    fn error(&self) -> Error {
        decode(self.dir.path()).unwrap_err()
    }
}

fn decode(folder: &Path) -> models::Result<()> {
    let inputs = Inputs::read(&golden("sd15/vae_decode.in.safetensors"))?;
    let settings = Settings::cpu();
    run(&Network::VaeDecode, folder, &inputs, &settings).map(drop)
}

/// Header and data of a safetensors file.
fn parts(bytes: &[u8]) -> (serde_json::Map<String, serde_json::Value>, Vec<u8>) {
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + size]).unwrap(), bytes[8 + size..].to_vec())
}

fn join(header: &serde_json::Map<String, serde_json::Value>, data: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).unwrap();
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

const TENSOR: &str = "decoder.conv_in.weight";

#[test]
fn the_copy_itself_is_good() {
    decode(Damaged::new().dir.path()).unwrap();
}

#[test]
fn each_damage_has_its_error() {
    let whole = fs_err::read(Damaged::new().weights()).unwrap();
    let (header, data) = parts(&whole);
    let start = header[TENSOR]["data_offsets"][0].as_u64().unwrap() as usize;
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut header = header.clone();
        change(&mut header[TENSOR]);
        join(&header, &data)
    };
    let without = {
        let mut header = header.clone();
        let renamed = header.remove(TENSOR).unwrap();
        header.insert("decoder.nonsense".to_owned(), renamed);
        join(&header, &data)
    };
    let nan = {
        let mut data = data.clone();
        data[start + 6..start + 8].copy_from_slice(&0x7FC0_u16.to_le_bytes());
        join(&header, &data)
    };
    let cases: [(&str, Vec<u8>, &[&str]); 12] = [
        ("empty", vec![], &["bytes"]),
        ("cut in its header", whole[..100].to_vec(), &["truncated"]),
        ("cut in its data", whole[..whole.len() - 10].to_vec(), &["truncated"]),
        ("longer than its header says", [whole.as_slice(), &[0; 4]].concat(), &["belong to no tensor"]),
        ("a header of 2^63 bytes", [&(1_u64 << 63).to_le_bytes(), &whole[8..]].concat(), &["header of"]),
        ("text", b"this is not a model at all, just a note".to_vec(), &["not a safetensors file"]),
        ("another shape", with(&|t| t["shape"][0] = 1.into()), &[TENSOR, "bytes do not make"]),
        ("an overflowing shape", with(&|t| t["shape"] = vec![u64::MAX; 4].into()), &[TENSOR, "bytes do not make"]),
        ("another type", with(&|t| t["dtype"] = "I16".into()), &[TENSOR, "I16"]),
        ("an unknown type", with(&|t| t["dtype"] = "Q4".into()), &[TENSOR, "Q4"]),
        ("another name", without, &[TENSOR, "missing", "decoder.nonsense"]),
        ("not a number", nan, &[TENSOR, "not a finite number"]),
    ];
    let copy = Damaged::new();
    for (what, bytes, words) in cases {
        fs_err::write(copy.weights(), bytes).unwrap();
        let error = copy.error().to_string();
        assert!(error.contains("vae"), "{what}: {error}");
        for word in words {
            assert!(error.contains(word), "{what}: no `{word}` in: {error}");
        }
        // Inspecting reads no values.
        let report = inspect::folder(copy.dir.path()).unwrap();
        assert_eq!(report.components[0].faults.is_empty(), what == "not a number", "{what}: {report:?}");
    }
}

#[test]
fn configurations_are_read_not_assumed() {
    let copy = Damaged::new();
    let good = fs_err::read_to_string(copy.config()).unwrap();
    for (from, to, words) in [
        ("\"silu\"", "\"relu\"", ["act_fn", "relu"]),
        ("\"norm_num_groups\": 4", "\"norm_num_groups\": 3", ["norm_num_groups", "3"]),
        ("\"scaling_factor\"", "\"scaling_factors\"", ["scaling_factors", "not known"]),
        ("\"DownEncoderBlock2D\"", "\"AttnDownEncoderBlock2D\"", ["down_block_types", "AttnDownEncoderBlock2D"]),
        ("\"latent_channels\": 4", "\"latent_channels\": \"four\"", ["config.json", "four"]),
        ("{", "", ["config.json", "line"]),
    ] {
        assert!(good.contains(from), "{from}");
        fs_err::write(copy.config(), good.replacen(from, to, 1)).unwrap();
        let error = copy.error().to_string();
        assert!(words.iter().all(|word| error.contains(word)) && error.contains("vae"), "{from} → {to}: {error}");
    }
    fs_err::remove_file(copy.config()).unwrap();
    assert!(copy.error().to_string().contains("config.json"));
}

/// Any byte of the header may be wrong.
#[test]
fn flipped_bytes_never_panic() {
    let copy = Damaged::new();
    let whole = fs_err::read(copy.weights()).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
    let mut refused = 0;
    for step in 0..400 {
        let mut bytes = whole.clone();
        let place = step * 7919 % header;
        bytes[place] ^= 1 << (step % 8);
        fs_err::write(copy.weights(), bytes).unwrap();
        let files = models::weights::WeightFiles::open(&copy.dir.path().join("vae"));
        refused += usize::from(files.is_err());
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn an_index_must_stay_in_its_folder_and_tell_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let from = golden("velocity/model/unet");
    for entry in fs_err::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let index = dir.path().join("diffusion_pytorch_model.safetensors.index.json");
    let good = fs_err::read_to_string(&index).unwrap();
    let open = || models::weights::WeightFiles::open(dir.path()).map(drop);
    open().unwrap();
    let first = "diffusion_pytorch_model-00001-of-00004.safetensors";
    for (to, word) in [
        ("../elsewhere.safetensors", "not the name of a file"),
        ("diffusion_pytorch_model-00002-of-00004.safetensors", "where the index has it"),
        ("missing.safetensors", "missing.safetensors"),
    ] {
        fs_err::write(&index, good.replacen(first, to, 1)).unwrap();
        let error = open().unwrap_err().to_string();
        assert!(error.contains(word), "{to}: {error}");
    }
}

/// Inputs: missing, misshaped, of the wrong type, not finite.
#[test]
fn inputs_are_checked_by_name() {
    let read = |name: &str| models::weights::read_file(&golden(name), DType::F32, &Device::Cpu).unwrap();
    let settings = Settings::cpu();
    let tensors = read("sdxl/unet.in.safetensors");
    let error = |change: &dyn Fn(&mut models::weights::TensorMap)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        let inputs = Inputs::new(Path::new("in.safetensors"), tensors);
        run(&Network::Unet { gradients: true, checkpointing: false }, &golden("sdxl/model"), &inputs, &settings)
            .unwrap_err()
            .to_string()
    };
    for name in ["sample", "timestep", "encoder_hidden_states", "text_embeds", "time_ids", "cotangent"] {
        let text = error(&|tensors| drop(tensors.remove(name)));
        assert!(text.contains(&format!("`{name}`: is missing")) && text.contains("in.safetensors"), "{text}");
        let text = error(&|tensors| {
            let shorter = tensors[name].narrow(0, 0, 1).unwrap();
            tensors.insert(name.to_owned(), if name == "sample" { shorter.squeeze(0).unwrap() } else { shorter });
        });
        assert!(text.contains(&format!("`{name}`: has shape")), "{text}");
        let text = error(&|tensors| {
            let dtype = if name == "timestep" { DType::F32 } else { DType::I64 };
            let other = tensors[name].to_dtype(dtype).unwrap();
            // The six numbers of `time_ids` may be whole.
            let other = if name == "time_ids" { other.narrow(1, 0, 5).unwrap() } else { other };
            tensors.insert(name.to_owned(), other);
        });
        assert!(text.contains(&format!("`{name}`: has")), "{text}");
    }
}
