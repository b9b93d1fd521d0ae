//! One worker's way through one job: prepare, take up the last checkpoint, step, choose, evaluate.
//!
//! The trainer lives on a blocking thread for a slice of steps at a time and comes back; between slices its metrics go to
//! the store. A slice ends after half a second, at a step where something is due, or when somebody wants something.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::pipeline::Pipeline;
use models::trainer::{Control as Go, Progress, StepMetrics, Trainer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::artifacts;
use super::checkpoint::{self, Best, Notes};
use super::control::Control;
use super::inputs::{self, Inputs};
use super::label_noise;
use super::settings::trainer_settings;
use crate::answer::Answerer;
use crate::job::{JobChange, JobSpec, JobStage, JobState};
use crate::store::graph::LoadedGraph;
use crate::store::{checkpoint as rows, evaluation as evaluations, job, job_event, job_metric};
use crate::task::evaluate::{self, EvaluationSettings, scratch_folder};
use crate::task::{TaskContext, on_thread, score};
use crate::{Error, Result};

mod looks;

/// How long metrics may wait for the store.
const SLICE: Duration = Duration::from_millis(500);
/// The judge of all comparisons in a job.
const ANSWERER: &str = "shapes";
/// Name of the artifact that holds the trained weights; its presence says that no step is left.
pub const WEIGHTS: &str = "unet.safetensors";
/// Name of the artifact that tells how it went.
pub const REPORT: &str = "report.json";

pub(super) struct Runner<'a> {
    context: &'a TaskContext,
    id: Uuid,
    spec: JobSpec,
    control: &'a Control,
}

/// What a training run is about, once everything is loaded.
struct Training {
    reference: Arc<Pipeline>,
    sampling: models::pipeline::SampleSettings,
    answerer: Arc<dyn Answerer>,
    comparison: Vec<LoadedGraph>,
    selection: Vec<LoadedGraph>,
    trainer: Option<Trainer>,
    notes: Notes,
    /// Of the reference on each selection graph.
    scratch: PathBuf,
}

impl<'a> Runner<'a> {
    pub(super) fn new(context: &'a TaskContext, id: Uuid, spec: JobSpec, control: &'a Control) -> Self {
        Self { context, id, spec, control }
    }

    /// # Errors
    /// `Stopped` when the job was let go before its end; everything that counts is stored then.
    pub(super) async fn run(&self) -> Result<()> {
        self.stage(JobStage::Encode, 0, 0, "graphs").await?;
        let inputs = inputs::load(self.context, &self.spec).await?;
        let weights = rows::find_artifact(&mut *self.context.pool.acquire().await?, self.id, WEIGHTS).await?;
        let (sampling, reference) = (inputs.sampling, Arc::clone(&inputs.reference));
        let trained = match weights {
            Some(weights) => {
                self.running().await?;
                weights.blob
            }
            None => self.train(inputs).await?,
        };
        self.evaluate(&reference, sampling, trained.clone()).await?;
        artifacts::write(self.context, self.id, &self.spec, &reference, &trained).await
    }

    async fn train(&self, mut inputs: Inputs) -> Result<String> {
        self.event(
            "log",
            &json!({
                "message": inputs.told(),
                "pairs": inputs.pairs.len(), "graphs": inputs.graphs.len(),
                "replayed": inputs.replayed, "inverted": inputs.inverted, "cache_bytes": inputs.cache_bytes,
            }),
        )
        .await?;
        label_noise::exchange(&mut inputs.pairs, self.spec.label_noise, self.spec.seed as u64);
        let mut training = self.prepare(inputs).await?;
        self.running().await?;
        let mut step = Self::step_of(&training)?;
        if step == 0 {
            // What the reference makes, for the eye and as the mark to beat.
            self.show(&training, 0, &Arc::clone(&training.reference)).await?;
            if self.spec.evaluation.every > 0 {
                self.select(&mut training, 0, None).await?;
            }
        }
        self.stage(JobStage::Train, step, self.spec.max_steps, "steps").await?;
        while step < self.spec.max_steps && !self.out_of_patience(&training.notes) {
            let metrics = self.slice(&mut training).await?;
            step = Self::step_of(&training)?;
            training.notes.training_seconds += metrics.iter().map(|one| one.seconds).sum::<f64>();
            self.record(&metrics, step).await?;
            let last = step >= self.spec.max_steps;
            let due = |every: usize| every > 0 && (step.is_multiple_of(every) || last) && !metrics.is_empty();
            let show = self.control.take_sample() || due(self.spec.sample_every);
            let select = due(self.spec.evaluation.every);
            if show || select {
                let (file, _folder, pipeline) = self.export(&mut training).await?;
                if select {
                    self.select(&mut training, step, Some((&file, &pipeline))).await?;
                }
                if show {
                    self.show(&training, step, &pipeline).await?;
                }
            }
            if select && self.out_of_patience(&training.notes) {
                let message =
                    format!("no better selection in the last {}: stopped early", self.spec.evaluation.patience);
                self.event("log", &json!({ "message": message, "step": step })).await?;
                break;
            }
            let stop = self.control.check();
            if self.control.take_save() || stop.is_err() || due(self.spec.checkpoint_every) {
                self.save(&mut training, step).await?;
            }
            stop?;
        }
        self.finish_training(&mut training).await
    }

    /// Loads the trainer, with paths and reference predictions, and takes up the newest checkpoint.
    async fn prepare(&self, inputs: Inputs) -> Result<Training> {
        let answerer = score::answerer(ANSWERER)?;
        let (comparison, mut selection) = evaluate::held_out(self.context, &*answerer).await?;
        selection.truncate(self.spec.evaluation.selection_graphs);
        let settings = trainer_settings(&self.spec, inputs.sampling);
        let cache = self.context.cache();
        let reference = Arc::clone(&inputs.reference);
        let sampling = inputs.sampling;
        let scratch = scratch_folder(self.context)?;
        let folder = tempfile::tempdir_in(&scratch)?;
        let latest = checkpoint::read_latest(self.context, self.id, folder.path()).await?;

        let (sender, mut progress) = tokio::sync::watch::channel(None::<Progress>);
        let flags = self.control.flags();
        let restore = latest.as_ref().map(|_| folder.path().to_path_buf());
        let making = on_thread(move || {
            let mut report = |now: Progress| {
                // Nobody listens any more: the task was dropped, and with it the reason to go on.
                if sender.send(Some(now)).is_err() || flags.wants_to_stop() { Go::Stop } else { Go::Continue }
            };
            let mut trainer =
                Trainer::new(inputs.reference, &inputs.graphs, inputs.pairs, settings, &cache, &mut report)?;
            if let Some(folder) = restore {
                trainer.restore(&folder)?;
            }
            Ok(trainer)
        });
        tokio::pin!(making);
        let mut told = Instant::now();
        let trainer = loop {
            tokio::select! {
                trainer = &mut making => break trainer?,
                Ok(()) = progress.changed() => {
                    let now = progress.borrow_and_update().clone();
                    if let Some(now) = now && (told.elapsed() > SLICE || now.done == 0) {
                        told = Instant::now();
                        self.set_progress(now.stage, now.done, now.total, "images").await?;
                    }
                }
            }
        };
        let notes = match latest {
            Some((step, notes)) => {
                job_metric::delete_after(&mut *self.context.pool.acquire().await?, self.id, step as i32).await?;
                self.event("log", &json!({ "message": format!("going on from the checkpoint at step {step}") }))
                    .await?;
                notes
            }
            None => Notes::default(),
        };
        Ok(Training { reference, sampling, answerer, comparison, selection, trainer: Some(trainer), notes, scratch })
    }

    fn step_of(training: &Training) -> Result<usize> {
        training.trainer.as_ref().map(Trainer::step_index).ok_or_else(lost)
    }

    /// Steps until something is due, wanted, or half a second is over.
    async fn slice(&self, training: &mut Training) -> Result<Vec<StepMetrics>> {
        let mut trainer = training.trainer.take().ok_or_else(lost)?;
        let flags = self.control.flags();
        let spec = &self.spec;
        let stops = [spec.checkpoint_every, spec.sample_every, spec.evaluation.every];
        let max_steps = spec.max_steps;
        let (trainer, metrics) = on_thread(move || {
            let begun = Instant::now();
            let mut metrics = Vec::new();
            while trainer.step_index() < max_steps && !flags.wants_attention() {
                metrics.push(trainer.step()?);
                let step = trainer.step_index();
                if begun.elapsed() > SLICE || stops.iter().any(|&every| every > 0 && step.is_multiple_of(every)) {
                    break;
                }
            }
            Ok((trainer, metrics))
        })
        .await?;
        training.trainer = Some(trainer);
        Ok(metrics)
    }

    /// The averaged weights as a file, and as a pipeline.
    async fn export(&self, training: &mut Training) -> Result<(PathBuf, tempfile::TempDir, Arc<Pipeline>)> {
        let folder = tempfile::tempdir_in(&training.scratch)?;
        let file = folder.path().join(WEIGHTS);
        let trainer = training.trainer.take().ok_or_else(lost)?;
        let (path, reference) = (file.clone(), Arc::clone(&training.reference));
        let (trainer, pipeline) = on_thread(move || {
            trainer.export(&path)?;
            let pipeline = Arc::new(reference.with_unet(&path)?);
            Ok((trainer, pipeline))
        })
        .await?;
        training.trainer = Some(trainer);
        Ok((file, folder, pipeline))
    }

    async fn save(&self, training: &mut Training, step: usize) -> Result<()> {
        let folder = tempfile::tempdir_in(&training.scratch)?;
        let path = folder.path().join("checkpoint");
        let trainer = training.trainer.take().ok_or_else(lost)?;
        let target = path.clone();
        training.trainer = Some(
            on_thread(move || {
                trainer.save(&target)?;
                Ok(trainer)
            })
            .await?,
        );
        checkpoint::write(self.context, self.id, step, &path, &training.notes).await
    }

    /// Stores the chosen weights. From here on a resumed job goes straight to its evaluation.
    async fn finish_training(&self, training: &mut Training) -> Result<String> {
        let (file, _folder, _) = self.export(training).await?;
        let content = fs_err::tokio::read(&file).await?;
        let bytes = content.len() as i64;
        let (blob, bytes, step) = match &training.notes.best {
            Some(best) => (best.blob.clone(), best.bytes, best.step),
            None => (self.context.blobs.put(content).await?, bytes, Self::step_of(training)?),
        };
        let report = json!({
            "objective": self.spec.objective.name(),
            "chosen_step": step,
            "training_steps": Self::step_of(training)?,
            "training_seconds": training.notes.training_seconds,
            "selection": {
                "graphs": training.selection.len(),
                "base_score": training.notes.base_selection_score,
                "scores": training.notes.selections.iter().map(|(step, score)| {
                    let delta = training.notes.deltas.iter().find(|(of, _)| of == step).map(|(_, delta)| *delta);
                    json!({ "step": step, "score": score, "delta": delta.map(|delta| delta.0),
                        "delta_se": delta.map(|delta| delta.1) })
                }).collect::<Vec<_>>(),
            },
        });
        let report = serde_json::to_vec_pretty(&report)
            .map_err(|source| Error::Json { context: "writing the job's report".to_owned(), source })?;
        let report_bytes = report.len() as i64;
        let report_blob = self.context.blobs.put(report).await?;
        let mut transaction = self.context.pool.begin().await?;
        rows::upsert_artifact(&mut transaction, self.id, REPORT, &report_blob, report_bytes, "application/json")
            .await?;
        rows::upsert_artifact(&mut transaction, self.id, WEIGHTS, &blob, bytes, "application/octet-stream").await?;
        job_event::append(
            &mut transaction,
            self.id,
            "log",
            &json!({ "message": format!("trained; the weights of step {step} are kept") }),
        )
        .await?;
        transaction.commit().await?;
        Ok(blob)
    }

    async fn evaluate(
        &self,
        reference: &Arc<Pipeline>,
        sampling: models::pipeline::SampleSettings,
        trained_blob: String,
    ) -> Result<()> {
        let wanted = &self.spec.evaluation;
        if wanted.num_graphs == 0 {
            return Ok(());
        }
        let answerer = score::answerer(ANSWERER)?;
        let (mut graphs, _) = evaluate::held_out(self.context, &*answerer).await?;
        graphs.truncate(wanted.num_graphs);
        if graphs.len() < 2 {
            self.event("log", &json!({ "message": "fewer than two held-out graphs: nothing to compare on" })).await?;
            return Ok(());
        }
        let settings = EvaluationSettings {
            base_model_hash: reference.hash().to_owned(),
            trained_blob,
            graph_ids: graphs.iter().map(|graph| graph.id).collect(),
            num_noises: wanted.num_noises as u32,
            seed: wanted.seed,
            num_inference_steps: sampling.num_inference_steps as u32,
            guidance_scale: sampling.guidance_scale,
            answerer: answerer.name().to_owned(),
            answerer_version: answerer.version().to_owned(),
        };
        let known = evaluations::of_job(&mut *self.context.pool.acquire().await?, self.id).await?;
        let id = match known.first() {
            Some(row) => row.id,
            None => evaluate::create(self.context, Some(self.id), &self.spec.name, &settings, false).await?,
        };
        let flags = self.control.flags();
        let check = move || if flags.wants_to_stop() { Err(Error::Stopped) } else { Ok(()) };
        let result = evaluate::run_until(self.context, id, &check).await?;
        self.event("evaluation", &json!({ "evaluation_id": id, "result": result })).await
    }

    /// From `preparing` to `running`.
    async fn running(&self) -> Result<()> {
        let mut transaction = self.context.pool.begin().await?;
        let state = super::find(&mut transaction, self.id).await?.state;
        // A wish may have come meanwhile; it is seen at the next check.
        if state == JobState::Preparing {
            super::change(&mut transaction, self.id, JobChange::Run).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn record(&self, metrics: &[StepMetrics], step: usize) -> Result<()> {
        let rows = metrics
            .iter()
            .map(|one| {
                let json = serde_json::to_value(one)
                    .map_err(|source| Error::Json { context: "writing metrics".to_owned(), source })?;
                Ok((one.step as i32, json))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut transaction = self.context.pool.begin().await?;
        if !rows.is_empty() {
            job_metric::upsert_many(&mut transaction, self.id, &rows).await?;
        }
        job::set_progress(
            &mut transaction,
            self.id,
            JobStage::Train.as_str(),
            step as i64,
            self.spec.max_steps as i64,
            "steps",
        )
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Adds fields to the metrics of a step that are there already.
    async fn add_to_metrics(&self, step: usize, more: Value) -> Result<()> {
        let mut transaction = self.context.pool.begin().await?;
        let known = job_metric::list(&mut transaction, self.id, step as i32, 1).await?;
        let mut fields = match known.into_iter().find(|one| one.step == step as i32).map(|one| one.metrics) {
            Some(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        if let Value::Object(more) = more {
            fields.extend(more);
        }
        job_metric::upsert_many(&mut transaction, self.id, &[(step as i32, Value::Object(fields))]).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn stage(&self, stage: JobStage, done: usize, total: usize, unit: &str) -> Result<()> {
        self.event("stage", &json!({ "stage": stage })).await?;
        self.set_progress(stage.as_str(), done, total, unit).await
    }

    async fn set_progress(&self, stage: &str, done: usize, total: usize, unit: &str) -> Result<()> {
        let mut connection = self.context.pool.acquire().await?;
        job::set_progress(&mut connection, self.id, stage, done as i64, total as i64, unit).await
    }

    async fn event(&self, kind: &str, data: &Value) -> Result<()> {
        let mut transaction = self.context.pool.begin().await?;
        job_event::append(&mut transaction, self.id, kind, data).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// A step failed and took the trainer with it; the job is over then, and this is never seen.
fn lost() -> Error {
    Error::Thread("the trainer was lost".to_owned())
}
