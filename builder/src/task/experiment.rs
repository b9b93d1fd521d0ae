//! Runs an experiment with the store and the queue: candidates, scores, a pairing and a job for each training.
//!
//! Everything has a name that follows from what it is: a generation under a setting, a pairing under its hash, a job under an
//! idempotency key. So an experiment that was killed, started again, finds what it made and goes on where it was, and two
//! experiments on the same data share it. Somebody must run [`super::queue::run`] beside it.

use std::time::Duration;

use candle_core::Tensor;
use models::inversion_quality::{self, InversionQuality};
use models::pipeline::{GraphMode, SampleSettings};
use models::scheduler::InverseLabel;
use serde_json::{Value, json};
use uuid::Uuid;

use super::demo::{self, DemoPlan};
use super::generate::{self, GenerationRequest};
use super::score::ScoreRequest;
use super::train::{self, JobRequest};
use super::{TaskContext, evaluate, freeze, ingest, on_thread, sampling, score};
use crate::blob;
use crate::conditioning::graph_text;
use crate::experiment::{DataPlan, ExperimentPlan, RunPlan, Trial};
use crate::job::{JobState, Objective, PathChoice};
use crate::store::pairing::Pairing;
use crate::store::score_card::Scope;
use crate::store::state::TaskState;
use crate::store::{candidate, checkpoint, generation, graph, job, pairing, score_run, setting};
use crate::{Error, Result};

const LOOK_EVERY: Duration = Duration::from_millis(200);
const ANSWERER: &str = "shapes";

/// How far an experiment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is at, for people.
    pub what: String,
    /// Units of it done.
    pub done: i64,
    /// In all.
    pub total: i64,
}

/// Runs `plan` to its end, or what is left of it, and gives what [`crate::experiment::table`] reads.
///
/// # Errors
/// `Stopped` when the process stops; a training that fails is a result, not an error.
pub async fn run(context: &TaskContext, plan: &ExperimentPlan, tell: &(dyn Fn(Progress) + Sync)) -> Result<Value> {
    let experiment = Experiment { context, plan, tell };
    let mut runs = Vec::with_capacity(plan.runs.len());
    for run in &plan.runs {
        let generation = experiment.candidates(run.graphs).await?;
        let scope = Scope { generation_id: Some(generation), ..freeze::training_scope() };
        let name = format!("{}/{}", plan.name, run.name);
        let (frozen, _) = freeze::freeze(context, &name, &run.policy, &scope).await?;
        let mut trials = Vec::with_capacity(run.trials.len());
        for trial in &run.trials {
            trials.push(experiment.trial(run, trial, &frozen).await?);
        }
        let inversion = experiment.diagnose(run, &frozen).await?;
        runs.push(json!({
            "name": run.name, "graphs": run.graphs, "pairs": frozen.num_pairs, "pairing_hash": frozen.hash,
            "policy": run.policy, "trials": trials, "inversion": inversion,
        }));
    }
    Ok(json!({ "name": plan.name, "title": plan.title, "about": plan.about, "data": plan.data, "runs": runs }))
}

struct Experiment<'a> {
    context: &'a TaskContext,
    plan: &'a ExperimentPlan,
    tell: &'a (dyn Fn(Progress) + Sync),
}

impl Experiment<'_> {
    fn tell(&self, what: impl Into<String>, done: i64, total: i64) {
        (self.tell)(Progress { what: what.into(), done, total });
    }

    /// The scored candidates of so many graphs: their generation.
    async fn candidates(&self, graphs: usize) -> Result<Uuid> {
        let data = &self.plan.data;
        let document = serde_json::to_string(&(data, graphs))
            .map_err(|source| Error::Json { context: "writing the experiment's data".to_owned(), source })?;
        let key = format!("experiment/{}", blob::hash(document.as_bytes()));
        let known = setting::get(&mut *self.context.pool.acquire().await?, &key).await?;
        let id = match known.and_then(|value| value.as_str().and_then(|id| id.parse::<Uuid>().ok())) {
            Some(id) => id,
            None => self.generation(data, graphs, &key).await?,
        };
        loop {
            let row = generation::find(&mut *self.context.pool.acquire().await?, id).await?;
            let row = row.ok_or_else(|| Error::not_found("generation", id))?;
            match row.state {
                TaskState::Succeeded => break,
                TaskState::Failed | TaskState::Cancelled => return Err(ended("generation", row.error.as_ref())),
                _ => self.tell(format!("candidates of {graphs} graphs"), row.done, row.total),
            }
            self.wait().await?;
        }
        self.scores(id).await?;
        Ok(id)
    }

    /// Graphs through the ingest that every file goes through, then a new generation under `key`.
    async fn generation(&self, data: &DataPlan, graphs: usize, key: &str) -> Result<Uuid> {
        self.tell(format!("{graphs} graphs"), 0, graphs as i64);
        let wanted = DemoPlan {
            train_graphs: graphs,
            evaluation_graphs: data.evaluation_graphs,
            selection_graphs: data.selection_graphs,
            ..DemoPlan::small(data.seed)
        };
        let records = demo::synthetic_graphs(&wanted)?;
        let folder = evaluate::scratch_folder(self.context)?;
        let file = folder.join(format!("experiment-{}.json", crate::id::new()));
        let text = serde_json::to_vec(&records)
            .map_err(|source| Error::Json { context: "writing the experiment's graphs".to_owned(), source })?;
        fs_err::tokio::write(&file, text).await?;
        let ingested = ingest::run(self.context, &file).await;
        fs_err::tokio::remove_file(&file).await?;
        ingested?;
        let names: Vec<String> =
            records.iter().take(graphs).filter_map(|one| one["img_id"].as_str().map(str::to_owned)).collect();
        let mut transaction = self.context.pool.begin().await?;
        let request = GenerationRequest {
            graph_ids: graph::ids_of_img_ids(&mut transaction, &names).await?,
            selection: json!({ "experiment": self.plan.name, "graphs": graphs }),
            model: None,
            seed: data.seed,
            num_candidates: data.num_candidates,
            num_inference_steps: data.num_inference_steps,
            guidance_scale: data.guidance_scale,
        };
        let id = generate::create_in(&mut transaction, self.context, &request).await?;
        setting::put(&mut transaction, key, &json!(id)).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Judges what is not judged yet.
    async fn scores(&self, generation_id: Uuid) -> Result<()> {
        let answerer = score::answerer(ANSWERER)?;
        let mut connection = self.context.pool.acquire().await?;
        let version = score::answering_version(answerer.version());
        let by = candidate::ScoredBy { answerer: answerer.name(), answerer_version: &version, metric: None };
        let unscored = candidate::count_unscored(&mut connection, Some(generation_id), by).await?;
        drop(connection);
        if unscored == 0 {
            return Ok(());
        }
        let request = ScoreRequest { generation_id: Some(generation_id), ..ScoreRequest::new(ANSWERER) };
        let id = score::create(self.context, &request).await?;
        loop {
            let row = score_run::find(&mut *self.context.pool.acquire().await?, id).await?;
            let row = row.ok_or_else(|| Error::not_found("score run", id))?;
            match row.state {
                TaskState::Succeeded => return Ok(()),
                TaskState::Failed | TaskState::Cancelled => return Err(ended("score run", row.error.as_ref())),
                _ => self.tell("scores", row.done, row.total),
            }
            self.wait().await?;
        }
    }

    /// One training with its comparison; what it left.
    async fn trial(&self, run: &RunPlan, trial: &Trial, frozen: &Pairing) -> Result<Value> {
        let mut spec = trial.spec.clone();
        spec.pairing_id = frozen.id;
        let sampling = self.plan.data.sampling();
        let images = 2 * frozen.num_pairs as usize;
        let mut result = json!({
            "seed": trial.seed, "spec": spec,
            "image_forwards_per_step": spec.image_forwards_per_step(sampling),
            "image_forwards_before": spec.image_forwards_before(sampling, images),
        });
        if frozen.num_pairs == 0 {
            // A result like any other: the runs after it go on.
            result["state"] = json!(JobState::Failed.to_string());
            result["error"] = json!("its policy makes no pairs of these graphs");
            return Ok(result);
        }
        let document = serde_json::to_string(&spec)
            .map_err(|source| Error::Json { context: "writing the job's spec".to_owned(), source })?;
        let key = format!("experiment/{}", blob::hash(document.as_bytes()));
        let id = train::create(self.context, &spec, &JobRequest { idempotency_key: Some(key) }).await?.id;
        let row = loop {
            let row = job::find(&mut *self.context.pool.acquire().await?, id).await?;
            let row = row.ok_or_else(|| Error::not_found("job", id))?;
            if row.state.is_final() {
                break row;
            }
            self.tell(format!("{} · seed {} · {}", run.name, trial.seed, row.stage), row.done, row.total);
            self.wait().await?;
        };
        let mut connection = self.context.pool.acquire().await?;
        result["job_id"] = json!(id);
        result["state"] = json!(row.state.to_string());
        if row.state != JobState::Succeeded {
            result["error"] = row.error.map_or(Value::Null, |error| error["message"].clone());
            return Ok(result);
        }
        let report = checkpoint::find_artifact(&mut connection, id, train::REPORT).await?;
        let report = report.ok_or_else(|| Error::not_found("artifact", train::REPORT))?;
        let report: Value = serde_json::from_slice(&self.context.blobs.get(&report.blob).await?)
            .map_err(|source| Error::Json { context: "the job's report".to_owned(), source })?;
        for field in ["evaluation", "diversity", "selection", "training_steps", "training_seconds", "chosen_step"] {
            result[field] = report[field].clone();
        }
        Ok(result)
    }

    /// The figures of the run's inversion on the first images of its pairing; null where the experiment asks for none or
    /// the objective inverts nothing.
    async fn diagnose(&self, run: &RunPlan, frozen: &Pairing) -> Result<Value> {
        let Some(Trial { spec, .. }) = run.trials.first() else { return Ok(Value::Null) };
        let Some((recorded, settings)) = inversion_of(&spec.objective, self.plan.data.sampling()) else {
            return Ok(Value::Null);
        };
        if self.plan.diagnose == 0 {
            return Ok(Value::Null);
        }
        let mut connection = self.context.pool.acquire().await?;
        let pairs = pairing::pairs(&mut connection, frozen.id).await?;
        let ids: Vec<Uuid> = pairs.iter().take(self.plan.diagnose).map(|pair| pair.winner_id).collect();
        let images = candidate::load_many(&mut connection, &ids).await?;
        let Some(first) = images.first() else { return Ok(Value::Null) };
        let reference = self.context.models.by_hash(&mut connection, &first.model_hash).await?;
        let graph_ids: Vec<Uuid> = images.iter().map(|image| image.graph_id).collect();
        let graphs = graph::scene_graphs(&mut connection, &graph_ids).await?;
        drop(connection);
        let keys: Vec<String> = images.iter().filter_map(|image| image.latent_blob.clone()).collect();
        let latents = super::get_blobs(&self.context.blobs, keys).await?;
        if latents.len() != images.len() {
            return Ok(Value::Null);
        }
        let places: Vec<usize> =
            images.iter().filter_map(|image| graphs.iter().position(|graph| graph.id == image.graph_id)).collect();
        let texts: Vec<_> = graphs.iter().map(|graph| graph_text(&graph.graph)).collect();
        let seeds: Vec<u64> = images.iter().map(|image| image.seed as u64).collect();
        self.tell(format!("{} · inversion", run.name), 0, images.len() as i64);
        let quality = on_thread(move || -> Result<InversionQuality> {
            let values: Vec<f32> = latents.iter().flat_map(|latent| sampling::latent_from_bytes(latent)).collect();
            let (channels, side) = (reference.latent_channels(), reference.latent_size());
            let latents = Tensor::from_vec(values, (seeds.len(), channels, side, side), reference.device())
                .map_err(models::Error::from)?;
            let conditioning = reference.encode_graphs(&texts, GraphMode::SceneGraph)?.select(&places)?;
            if !recorded {
                let label = InverseLabel::Destination;
                return Ok(inversion_quality::measure(&reference, &latents, &conditioning, settings, label)?);
            }
            // The path is the one that was sampled: its end is the noise itself, and it leads back to the image.
            let noises =
                seeds.iter().map(|seed| reference.initial_latent(*seed)).collect::<models::Result<Vec<_>>>()?;
            let noise = Tensor::cat(&noises, 0).map_err(models::Error::from)?;
            let back = reference.sample(&conditioning, &seeds, settings)?;
            let error = (back - &latents)
                .and_then(|difference| difference.sqr()?.mean_all()?.to_scalar::<f32>())
                .map_err(models::Error::from)?;
            let variance = latents.flatten_all().and_then(|all| all.var(0)?.to_scalar::<f32>());
            Ok(InversionQuality {
                reconstruction_error: f64::from(error),
                latent_variance: f64::from(variance.map_err(models::Error::from)?),
                ..inversion_quality::of_noise(&noise)?
            })
        })
        .await?;
        serde_json::to_value(quality)
            .map_err(|source| Error::Json { context: "writing the inversion's figures".to_owned(), source })
    }

    async fn wait(&self) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
            () = self.context.shutdown.cancelled() => Err(Error::Stopped),
        }
    }
}

/// Whether an objective's paths are recorded, and the settings of its paths; none for one without paths.
fn inversion_of(objective: &Objective, sampling: SampleSettings) -> Option<(bool, SampleSettings)> {
    let inverted = |steps: usize, guidance_scale: f64| {
        Some((false, SampleSettings { num_inference_steps: steps, guidance_scale }))
    };
    match objective {
        Objective::InversionDpo {
            path: PathChoice::Inverted,
            num_inversion_steps: steps,
            inversion_guidance_scale: guidance,
            ..
        }
        | Objective::InversionDpoPublished { num_inversion_steps: steps, inversion_guidance_scale: guidance, .. }
        | Objective::SingleTimestep { num_inversion_steps: steps, inversion_guidance_scale: guidance, .. } => {
            inverted(*steps, *guidance)
        }
        Objective::InversionDpoOfficial { num_inversion_steps, .. } => inverted(*num_inversion_steps, 2.0),
        Objective::InversionDpo { .. } => Some((true, sampling)),
        _ => None,
    }
}

fn ended(what: &str, error: Option<&Value>) -> Error {
    let reason = error.and_then(|error| error["message"].as_str()).unwrap_or("no reason was given");
    Error::conflict("experiment_ended", format!("the experiment's {what} failed: {reason}"))
}
