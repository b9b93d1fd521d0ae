//! `diptych metrics frechet`: distance between two sets of features, of pictures in folders or of candidates in the store.

use std::path::{Path, PathBuf};

use builder::metrics::Mode;
use builder::metrics::frechet::{self, Features, Frechet as Distance};
use builder::task::TaskContext;
use builder::task::frechet::{Gathering, Network, network, registered_features};
use clap::Args;
use models::metric_network::InceptionV3;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{Global, Usage, output, session};
use super::ModeOption;
use super::image_text::inception_features;

/// Fréchet distance between two sets of features (FID, if they are Inception's)
///
/// Each is a file with a tensor `features` [n, d] or, with --inception, a folder of pictures. With --generation the first is
/// the candidates of a generation in the store, and --network names an Inception that `diptych model register` has made
/// known; the second is then a file, a folder, another generation or registered features. Computed in f64; singular
/// covariances (n ≤ d) are treated exactly. `reference` may come out just below 0 by rounding, as the published script does;
/// `corrected` never does.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  diptych metrics frechet --a real.safetensors --b generated.safetensors --mode reference
  diptych metrics frechet --a real --b generated --inception pt_inception-2015-12-05.safetensors
  diptych metrics frechet --generation 01890a5d-ac96-774b-bcce-b302099a8057 --network fid --b real-pictures
  diptych metrics frechet --generation 01890a5d-ac96-774b-bcce-b302099a8057 --network fid --reference-features coco-val")]
pub(crate) struct Frechet {
    /// Features of the first set, or with --inception its pictures
    #[arg(long, value_name = "FILE or DIR", required_unless_present = "generation")]
    a: Option<PathBuf>,
    /// Features of the second set, or its pictures
    #[arg(long, value_name = "FILE or DIR", required_unless_present_any = ["reference_generation", "reference_features"])]
    b: Option<PathBuf>,
    /// InceptionV3's weights: a safetensors conversion of pytorch-fid's `pt_inception-2015-12-05`
    #[arg(long, value_name = "FILE", conflicts_with = "generation")]
    inception: Option<PathBuf>,
    /// The first set is this generation's candidates
    #[arg(long, value_name = "ID", conflicts_with = "a", requires = "network")]
    generation: Option<Uuid>,
    /// The second set is this generation's candidates
    #[arg(long, value_name = "ID", conflicts_with_all = ["b", "reference_features"], requires = "generation")]
    reference_generation: Option<Uuid>,
    /// The second set is features that are registered under this name
    #[arg(long, value_name = "NAME", conflicts_with = "b", requires = "generation")]
    reference_features: Option<String>,
    /// A registered Inception
    #[arg(long, value_name = "NAME", requires = "generation")]
    network: Option<String>,
    #[command(flatten)]
    mode: ModeOption,
}

impl Frechet {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let mode = self.mode.mode;
        if let (Some(generation), Some(name)) = (self.generation, &self.network) {
            let (found, version) = self.of_store(global, generation, name)?;
            return print(&found, mode, json!({ "generation_id": generation, "network_version": version }));
        }
        let device = session::device(global)?;
        let inception = self.inception.as_deref().map(|path| InceptionV3::open(path, &device)).transpose()?;
        let (Some(a), Some(b)) = (&self.a, &self.b) else {
            return Err(Usage("name the two sets: --a and --b".to_owned()).into());
        };
        let (a, b) = (set(a, inception.as_ref())?, set(b, inception.as_ref())?);
        let found = frechet::distance(&a, &b, mode)?;
        print(&found, mode, json!({ "weights": inception.as_ref().map(InceptionV3::content_hash) }))
    }

    fn of_store(&self, global: &Global, generation: Uuid, name: &str) -> anyhow::Result<(Distance, String)> {
        let mode = self.mode.mode;
        session::with(global, async |session| {
            let context = &session.context;
            let network = network(context, name).await?;
            let a = looked_at(context, &network, generation).await?;
            let b = match (self.reference_generation, &self.reference_features, &self.b) {
                (Some(id), ..) => looked_at(context, &network, id).await?,
                (None, Some(name), _) => registered_features(context, name).await?,
                (None, None, Some(path)) => set(path, Some(&network.inception))?,
                (None, None, None) => return Err(Usage("name the second set".to_owned()).into()),
            };
            let found = builder::task::on_thread(move || frechet::distance(&a, &b, mode)).await?;
            Ok((found, network.version))
        })
    }
}

async fn looked_at(context: &TaskContext, network: &Network, generation: Uuid) -> anyhow::Result<Features> {
    let mut gathering = Gathering::new(context, generation).await?;
    let bar = output::bar(gathering.progress().1 as u64, "looking");
    while gathering.step(context, network).await? {
        bar.set_position(gathering.progress().0 as u64);
    }
    bar.finish_and_clear();
    Ok(gathering.finish()?)
}

fn print(found: &Distance, mode: Mode, more: Value) -> anyhow::Result<()> {
    if found.num_a.min(found.num_b) <= found.dimensions {
        output::note(
            "note: a set has no more rows than dimensions: its covariance is singular, and the distance biased",
        );
    }
    if found.num_a != found.num_b {
        output::note(
            "note: the sets differ in size; the distance's bias depends on it, so compare at equal sizes only",
        );
    }
    let mut line = json!({
        "distance": found.distance, "mode": mode.as_str(),
        "num_a": found.num_a, "num_b": found.num_b, "dimensions": found.dimensions,
    });
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    output::json(&line)
}

/// The pictures of a folder, where there is a network to look at them, or a file of features.
fn set(path: &Path, inception: Option<&InceptionV3>) -> anyhow::Result<Features> {
    match inception {
        Some(network) if path.is_dir() => inception_features(network, path),
        _ => read(path),
    }
}

fn read(path: &Path) -> anyhow::Result<Features> {
    let name = path.display();
    if path.is_dir() {
        return Err(Usage(format!("{name} is a folder: --inception FILE turns pictures into features")).into());
    }
    Ok(Features::of_file(&name.to_string(), &fs_err::read(path)?)?)
}
