//! The whole main job in one command: graphs, candidates, scores, pairs, two trainings, the held-out comparison.
//!
//! Every stage leaves its mark in the store, in the transaction that starts it; so a killed demo, started again on the same
//! data folder, goes on where it was. The work itself is done by the very queue, rows and jobs that the API uses: this file
//! only asks for the next thing and waits. Somebody must run [`super::queue::run`] beside it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::evaluate::is_for_selection;
use super::generate::{self, GenerationRequest};
use super::score::ScoreRequest;
use super::train::{self, JobRequest};
use super::{TaskContext, freeze, ingest, score};
use crate::job::{EvaluationSpec, JobSpec, JobState, Objective};
use crate::policy::Policy;
use crate::scene_graph::SceneGraph;
use crate::shapes;
use crate::store::score_card::Scope;
use crate::store::state::{Split, TaskState};
use crate::store::{checkpoint, evaluation, generation, graph, job, pairing, score_card, score_run, setting};
use crate::{Error, Result};

/// Where the demo's progress lies in the store.
const SETTING: &str = "demo";
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// What a demo's candidates are scored and compared by.
const METRIC: &str = "dpg";
const ANSWERER: &str = "shapes";

/// Every number of a demo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemoPlan {
    /// Of everything: graphs, candidates, order of pairs, evaluation noise.
    pub seed: i64,
    /// Graphs that get candidates.
    pub train_graphs: usize,
    /// Held-out graphs of the final comparison.
    pub evaluation_graphs: usize,
    /// Other held-out graphs, on which the best checkpoint is chosen.
    pub selection_graphs: usize,
    /// Images a held-out graph and a model.
    pub num_noises: usize,
    /// Candidates a graph.
    pub num_candidates: u32,
    /// Sampling steps.
    pub num_inference_steps: u32,
    /// Guidance.
    pub guidance_scale: f64,
    /// What is trained, in this order; the first gives the summary's headline.
    pub objectives: Vec<Objective>,
    /// Steps of each training.
    pub max_steps: usize,
    /// Pairs a step.
    pub batch_size: usize,
    /// Peak.
    pub learning_rate: f64,
    /// Of the running mean of the weights.
    pub ema_decay: f64,
    /// Strength of the preference.
    pub beta: f64,
    /// Steps between looks at the selection graphs.
    pub select_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Steps between sample pictures.
    pub sample_every: usize,
    /// A file of graphs from elsewhere, ingested beside the synthetic ones.
    pub extra_graphs: Option<PathBuf>,
}

impl DemoPlan {
    /// What fits eight minutes on two cores, with room for slower ones.
    ///
    /// Candidates and evaluation are sampled without guidance: guidance mends much of what preference training mends, and
    /// hides it (measured at scales of 2 and more: no gain beyond the error). Ten steps score as high as twenty.
    pub fn normal(seed: i64) -> Self {
        Self {
            seed,
            train_graphs: 1000,
            evaluation_graphs: 360,
            selection_graphs: 60,
            num_noises: 2,
            num_candidates: 4,
            num_inference_steps: 10,
            guidance_scale: 1.0,
            objectives: vec![Objective::inversion_dpo(), Objective::DiffusionDpo {}],
            max_steps: 250,
            batch_size: 16,
            learning_rate: 1e-4,
            ema_decay: 0.97,
            beta: 2000.0,
            select_every: 50,
            checkpoint_every: 25,
            sample_every: 50,
            extra_graphs: None,
        }
    }

    /// The paper's set: 2,785 graphs × 4 = 11,140 images.
    pub fn full(seed: i64) -> Self {
        Self {
            train_graphs: 2785,
            evaluation_graphs: 400,
            selection_graphs: 100,
            max_steps: 900,
            ema_decay: 0.98,
            select_every: 150,
            checkpoint_every: 100,
            sample_every: 100,
            ..Self::normal(seed)
        }
    }

    /// Seconds, for tests.
    pub fn small(seed: i64) -> Self {
        Self {
            train_graphs: 8,
            evaluation_graphs: 4,
            selection_graphs: 2,
            num_noises: 1,
            num_inference_steps: 4,
            max_steps: 4,
            batch_size: 2,
            select_every: 2,
            checkpoint_every: 2,
            sample_every: 2,
            ..Self::normal(seed)
        }
    }

    fn job(&self, pairing_id: Uuid, objective: Objective) -> JobSpec {
        JobSpec {
            name: format!("demo: {}", objective.name()),
            max_steps: self.max_steps,
            warmup_steps: 10.min(self.max_steps),
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            ema_decay: self.ema_decay,
            beta: self.beta,
            seed: self.seed,
            checkpoint_every: self.checkpoint_every,
            sample_every: self.sample_every,
            sample_graphs: 6,
            evaluation: EvaluationSpec {
                num_graphs: self.evaluation_graphs,
                num_noises: self.num_noises,
                every: self.select_every,
                selection_graphs: self.selection_graphs,
                seed: self.seed,
                ..EvaluationSpec::default()
            },
            ..JobSpec::new(pairing_id, objective)
        }
    }
}

/// One line of the progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `graphs`, `generate`, `score`, `pair`, `train:NAME`, `evaluate:NAME`.
    pub name: String,
    /// `waiting`, `running`, `succeeded`.
    pub state: String,
    /// Units done.
    pub done: i64,
    /// Units to do.
    pub total: i64,
    /// What is counted.
    pub unit: String,
    /// Time spent, over all starts.
    pub seconds: f64,
    /// The row that the stage made or watches.
    pub id: Option<Uuid>,
}

/// The demo as it lies in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    plan: DemoPlan,
    stages: Vec<Stage>,
    summary: Option<Value>,
}

impl State {
    fn new(plan: DemoPlan) -> Self {
        let names = ["graphs", "generate", "score", "pair"].map(str::to_owned).into_iter().chain(
            plan.objectives.iter().flat_map(|objective| {
                [format!("train:{}", objective.name()), format!("evaluate:{}", objective.name())]
            }),
        );
        let stages = names
            .map(|name| Stage {
                unit: match name.split(':').next() {
                    Some("graphs") => "graphs",
                    Some("pair") => "pairs",
                    Some("train") => "steps",
                    _ => "images",
                }
                .to_owned(),
                name,
                state: "waiting".to_owned(),
                done: 0,
                total: 0,
                seconds: 0.0,
                id: None,
            })
            .collect();
        Self { plan, stages, summary: None }
    }
}

/// The progress as the API gives it; `None` when this store never saw a demo.
pub async fn status(connection: &mut PgConnection) -> Result<Option<Value>> {
    let Some(state) = load(connection).await? else { return Ok(None) };
    let current = state.stages.iter().find(|stage| stage.state != "succeeded");
    Ok(Some(json!({
        "running": state.summary.is_none(),
        "stage": current.map(|stage| &stage.name),
        "stages": state.stages,
        "summary": state.summary,
        "plan": state.plan,
    })))
}

async fn load(connection: &mut PgConnection) -> Result<Option<State>> {
    // A demo of another version of this program cannot be gone on with; it is begun anew.
    Ok(setting::get(connection, SETTING).await?.and_then(|value| serde_json::from_value(value).ok()))
}

/// Runs the demo to its end, or what is left of it, and gives the summary.
///
/// # Errors
/// `Conflict` where a demo runs in this store already.
pub async fn run(context: &TaskContext, plan: DemoPlan) -> Result<Value> {
    let _lock = lock(context).await?;
    run_to_the_end(Demo::open(context, plan).await?).await
}

/// Starts the demo, or what is left of it, and comes back once its state can be read; it ends with the process.
///
/// # Errors
/// `Conflict` where a demo runs in this store already.
pub async fn start(context: &TaskContext, plan: DemoPlan) -> Result<()> {
    let lock = lock(context).await?;
    Demo::open(context, plan.clone()).await?;
    let context = context.clone();
    tokio::spawn(async move {
        let _lock = lock;
        let ended = async { run_to_the_end(Demo::open(&context, plan).await?).await };
        tokio::select! {
            ended = ended => match ended {
                Ok(_) => tracing::info!("the demo is done"),
                Err(Error::Stopped) => tracing::info!("the demo was stopped; started again, it goes on"),
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the demo failed"),
            },
            () = context.shutdown.cancelled() => {}
        }
    });
    Ok(())
}

/// One demo a store: the lock is the connection's, which is closed when it is dropped.
async fn lock(context: &TaskContext) -> Result<PgConnection> {
    let mut connection = context.pool.acquire().await?.detach();
    if setting::try_lock(&mut connection, SETTING).await? {
        return Ok(connection);
    }
    Err(Error::conflict("demo_running", "a demo runs in this store already"))
}

async fn run_to_the_end(mut demo: Demo<'_>) -> Result<Value> {
    if let Some(summary) = &demo.state.summary {
        return Ok(summary.clone());
    }
    demo.graphs().await?;
    let generation_id = demo.generate().await?;
    demo.score(generation_id).await?;
    let pairing_id = demo.pair(generation_id).await?;
    for (place, objective) in demo.state.plan.objectives.clone().into_iter().enumerate() {
        demo.train(4 + 2 * place, pairing_id, objective).await?;
    }
    demo.summarize(generation_id, pairing_id).await
}

struct Demo<'a> {
    context: &'a TaskContext,
    state: State,
}

impl<'a> Demo<'a> {
    async fn open(context: &'a TaskContext, plan: DemoPlan) -> Result<Self> {
        let known = load(&mut *context.pool.acquire().await?).await?;
        let state = known.filter(|state| state.plan == plan).unwrap_or_else(|| State::new(plan));
        let demo = Self { context, state };
        demo.publish().await?;
        Ok(demo)
    }

    async fn publish(&self) -> Result<()> {
        self.publish_in(&mut *self.context.pool.acquire().await?).await
    }

    async fn publish_in(&self, connection: &mut PgConnection) -> Result<()> {
        let value = serde_json::to_value(&self.state)
            .map_err(|source| Error::Json { context: "writing the demo's progress".to_owned(), source })?;
        setting::put(connection, SETTING, &value).await
    }

    async fn publish_stage(&mut self, place: usize, done: i64, total: i64, seconds: f64) -> Result<()> {
        let stage = &mut self.state.stages[place];
        if "waiting" == stage.state {
            tracing::info!(stage = stage.name, "demo stage begins");
        }
        (stage.done, stage.total, stage.seconds) = (done, total, seconds);
        "running".clone_into(&mut stage.state);
        self.publish().await
    }

    async fn succeed(&mut self, place: usize, count: i64, seconds: f64) -> Result<()> {
        let stage = &mut self.state.stages[place];
        (stage.done, stage.total, stage.seconds) = (count, count, seconds);
        "succeeded".clone_into(&mut stage.state);
        tracing::info!(stage = stage.name, count, seconds, "demo stage done");
        self.publish().await
    }

    fn is_done(&self, place: usize) -> bool {
        self.state.stages[place].state == "succeeded"
    }

    /// 1. Graphs of the shapes world as a LAION-SG file, through the ingest that every file goes through.
    async fn graphs(&mut self) -> Result<()> {
        if self.is_done(0) {
            return Ok(());
        }
        let begun = Begun::now(&self.state.stages[0]);
        let plan = self.state.plan.clone();
        let total = plan.train_graphs + plan.evaluation_graphs + plan.selection_graphs;
        self.publish_stage(0, 0, total as i64, begun.seconds()).await?;
        let records = synthetic_graphs(&plan)?;
        let folder = super::evaluate::scratch_folder(self.context)?;
        let file = folder.join(format!("shapes-{}.json", plan.seed));
        let text = serde_json::to_vec(&records)
            .map_err(|source| Error::Json { context: "writing the demo's graphs".to_owned(), source })?;
        fs_err::tokio::write(&file, text).await?;
        ingest::run(self.context, &file).await?;
        fs_err::tokio::remove_file(&file).await?;
        if let Some(extra) = &plan.extra_graphs {
            ingest::run(self.context, extra).await?;
        }
        self.succeed(0, total as i64, begun.seconds()).await
    }

    /// 2. Candidates of the training graphs.
    async fn generate(&mut self) -> Result<Uuid> {
        let context = self.context;
        let plan = self.state.plan.clone();
        let id = if let Some(id) = self.state.stages[1].id {
            id
        } else {
            let mut transaction = context.pool.begin().await?;
            let img_ids = synthetic_graphs(&plan)?
                .iter()
                .take(plan.train_graphs)
                .filter_map(|record| record["img_id"].as_str().map(str::to_owned))
                .collect::<Vec<_>>();
            let graph_ids = graph::ids_of_img_ids(&mut transaction, &img_ids).await?;
            let request = GenerationRequest {
                graph_ids,
                selection: json!({ "demo": plan.seed }),
                model: None,
                seed: plan.seed,
                num_candidates: plan.num_candidates,
                num_inference_steps: plan.num_inference_steps,
                guidance_scale: plan.guidance_scale,
            };
            let id = generate::create_in(&mut transaction, context, &request).await?;
            self.state.stages[1].id = Some(id);
            self.publish_in(&mut transaction).await?;
            transaction.commit().await?;
            id
        };
        if self.is_done(1) {
            return Ok(id);
        }
        let begun = Begun::now(&self.state.stages[1]);
        loop {
            let row = generation::find(&mut *context.pool.acquire().await?, id)
                .await?
                .ok_or_else(|| Error::not_found("generation", id))?;
            if row.state == TaskState::Succeeded {
                self.succeed(1, row.done, begun.seconds()).await?;
                return Ok(id);
            }
            fine("generation", row.state, row.error.as_ref())?;
            self.publish_stage(1, row.done, row.total, begun.seconds()).await?;
            self.wait().await?;
        }
    }

    /// 3. Questions, answers, score cards.
    async fn score(&mut self, generation_id: Uuid) -> Result<()> {
        let context = self.context;
        let id = if let Some(id) = self.state.stages[2].id {
            id
        } else {
            let request = ScoreRequest { generation_id: Some(generation_id), ..ScoreRequest::new(ANSWERER) };
            let mut transaction = context.pool.begin().await?;
            let id = score::create_in(context, &mut transaction, &request).await?;
            self.state.stages[2].id = Some(id);
            self.publish_in(&mut transaction).await?;
            transaction.commit().await?;
            id
        };
        if self.is_done(2) {
            return Ok(());
        }
        let begun = Begun::now(&self.state.stages[2]);
        loop {
            let row = score_run::find(&mut *context.pool.acquire().await?, id)
                .await?
                .ok_or_else(|| Error::not_found("score run", id))?;
            if row.state == TaskState::Succeeded {
                return self.succeed(2, row.done, begun.seconds()).await;
            }
            fine("score run", row.state, row.error.as_ref())?;
            self.publish_stage(2, row.done, row.total, begun.seconds()).await?;
            self.wait().await?;
        }
    }

    /// 4. The best against the worst of each graph, frozen.
    async fn pair(&mut self, generation_id: Uuid) -> Result<Uuid> {
        let begun = Begun::now(&self.state.stages[3]);
        if let (true, Some(id)) = (self.is_done(3), self.state.stages[3].id) {
            return Ok(id);
        }
        // Freezing the same pairs again gives the same pairing: nothing to remember in between.
        let scope = Scope { generation_id: Some(generation_id), ..freeze::training_scope() };
        let name = format!("demo, seed {}", self.state.plan.seed);
        let (pairing, _) = freeze::freeze(self.context, &name, &Policy::best_worst(METRIC), &scope).await?;
        self.state.stages[3].id = Some(pairing.id);
        self.succeed(3, i64::from(pairing.num_pairs), begun.seconds()).await?;
        Ok(pairing.id)
    }

    /// 5–7. A job like any other: it trains, then compares on held-out graphs.
    async fn train(&mut self, place: usize, pairing_id: Uuid, objective: Objective) -> Result<()> {
        let context = self.context;
        let id = if let Some(id) = self.state.stages[place].id {
            id
        } else {
            let mut transaction = context.pool.begin().await?;
            let spec = self.state.plan.job(pairing_id, objective);
            let job = train::create_in(&mut transaction, &spec, &JobRequest::default()).await?;
            self.state.stages[place].id = Some(job.id);
            self.state.stages[place + 1].id = Some(job.id);
            self.publish_in(&mut transaction).await?;
            transaction.commit().await?;
            job.id
        };
        let training = Begun::now(&self.state.stages[place]);
        let mut evaluating: Option<Begun> = None;
        while !self.is_done(place + 1) {
            let row =
                job::find(&mut *context.pool.acquire().await?, id).await?.ok_or_else(|| Error::not_found("job", id))?;
            let evaluates = row.stage == "evaluate" || row.state == JobState::Succeeded;
            if evaluates && !self.is_done(place) {
                let steps = self.state.plan.max_steps as i64;
                self.succeed(place, steps, training.seconds()).await?;
            }
            if row.state == JobState::Succeeded {
                let seconds = evaluating.as_ref().map_or(self.state.stages[place + 1].seconds, Begun::seconds);
                let images = self.state.plan.evaluation_graphs * self.state.plan.num_noises * 2;
                return self.succeed(place + 1, images as i64, seconds).await;
            }
            if matches!(row.state, JobState::Failed | JobState::Cancelled) {
                // The next start makes another job instead of looking at this one for ever.
                (self.state.stages[place].id, self.state.stages[place + 1].id) = (None, None);
                self.publish().await?;
                return Err(ended("job", &row.state.to_string(), row.error.as_ref()));
            }
            if evaluates {
                let begun = evaluating.get_or_insert_with(|| Begun::now(&self.state.stages[place + 1])).seconds();
                self.publish_stage(place + 1, row.done, row.total, begun).await?;
            } else if row.stage == "train" {
                self.publish_stage(place, row.done, row.total, training.seconds()).await?;
            } else {
                self.publish_stage(place, 0, self.state.plan.max_steps as i64, training.seconds()).await?;
            }
            self.wait().await?;
        }
        Ok(())
    }

    /// 8. What came of it, in one object.
    async fn summarize(&mut self, generation_id: Uuid, pairing_id: Uuid) -> Result<Value> {
        let mut connection = self.context.pool.acquire().await?;
        let generation = generation::find(&mut connection, generation_id)
            .await?
            .ok_or_else(|| Error::not_found("generation", generation_id))?;
        let frozen =
            pairing::find(&mut connection, pairing_id).await?.ok_or_else(|| Error::not_found("pairing", pairing_id))?;
        let scope = Scope { generation_id: Some(generation_id), ..Scope::default() };
        let scores = score_card::graph_scores(&mut connection, &[METRIC.to_owned()], &scope).await?;
        let (mean, best) = mean_and_best(&scores);
        let mut objectives = Map::new();
        for (place, objective) in self.state.plan.objectives.clone().iter().enumerate() {
            let job_id = self.state.stages[4 + 2 * place].id.ok_or_else(|| Error::not_found("job", "of the demo"))?;
            let result = objective_result(self.context, &mut connection, job_id).await?;
            objectives.insert(objective.name().to_owned(), result);
        }
        let headline = self.state.plan.objectives.first().map(Objective::name).unwrap_or_default();
        let result = objectives.get(headline).cloned().unwrap_or_default();
        let seconds: Map<String, Value> =
            self.state.stages.iter().map(|stage| (stage.name.clone(), round(stage.seconds))).collect();
        let total: f64 = self.state.stages.iter().map(|stage| stage.seconds).sum();
        let summary = json!({
            "graphs": scores.len(),
            "candidates": generation.done,
            "mean_score": mean,
            "best_of_four_score": best,
            "pairs": frozen.num_pairs,
            "training_steps": result["training_steps"],
            "training_seconds": result["training_seconds"],
            "base_score": result["base_score"],
            "trained_score": result["trained_score"],
            "delta": result["delta"],
            "delta_se": result["delta_se"],
            "delta_ci95": result["delta_ci95"],
            "evaluated_images": result["evaluated_images"],
            "evaluated_graphs": result["evaluated_graphs"],
            "by_kind": result["by_kind"],
            "objective": headline,
            "objectives": objectives,
            "seed": self.state.plan.seed,
            "model_hash": generation.model_hash,
            "pairing_hash": frozen.hash,
            "stage_seconds": seconds,
            "seconds": round(total),
        });
        self.state.summary = Some(summary.clone());
        self.publish_in(&mut connection).await?;
        Ok(summary)
    }

    async fn wait(&self) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
            () = self.context.shutdown.cancelled() => Err(Error::Stopped),
        }
    }
}

/// Training graphs first, then held-out ones: as many of each as the plan wants, no two of the held-out ones alike.
pub(super) fn synthetic_graphs(plan: &DemoPlan) -> Result<Vec<Value>> {
    let mut train = Vec::new();
    let mut held_out = Vec::new();
    let (mut compared, mut selected) = (0, 0);
    let mut seen = std::collections::HashSet::new();
    for index in 0.. {
        if train.len() == plan.train_graphs && compared == plan.evaluation_graphs && selected == plan.selection_graphs {
            break;
        }
        let record = shapes::generate_compositional(plan.seed as u64, index)
            .to_laion_sg(&format!("shapes-{}-{index:05}", plan.seed));
        let graph = SceneGraph::from_laion_sg(&record)
            .map_err(|error| Error::Thread(format!("the world of shapes made a graph that is none: {error}")))?;
        match graph.split() {
            Split::Train if train.len() < plan.train_graphs => train.push(record),
            Split::Train => {}
            Split::HeldOut => {
                let hash = graph.meaning_hash();
                let (count, wanted) = if is_for_selection(&hash) {
                    (&mut selected, plan.selection_graphs)
                } else {
                    (&mut compared, plan.evaluation_graphs)
                };
                if *count < wanted && seen.insert(hash) {
                    *count += 1;
                    held_out.push(record);
                }
            }
        }
    }
    train.extend(held_out);
    Ok(train)
}

async fn objective_result(context: &TaskContext, connection: &mut PgConnection, job_id: Uuid) -> Result<Value> {
    let evaluation = evaluation::of_job(connection, job_id).await?.into_iter().find_map(|row| row.result);
    let mut result = evaluation.ok_or_else(|| Error::not_found("evaluation of job", job_id))?;
    if let Some(report) = checkpoint::find_artifact(connection, job_id, "report.json").await? {
        let report: Value = serde_json::from_slice(&context.blobs.get(&report.blob).await?)
            .map_err(|source| Error::Json { context: "the job's report".to_owned(), source })?;
        for field in ["training_steps", "training_seconds", "chosen_step", "selection"] {
            result[field] = report[field].clone();
        }
    }
    result["job_id"] = json!(job_id);
    Ok(result)
}

/// Mean over all candidates, and mean over graphs of the best.
fn mean_and_best(graphs: &[score_card::GraphScores]) -> (f64, f64) {
    // Sorted, because the order of rows differs from store to store, and with it the last bit of a sum.
    let mean = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    let scores = |graph: &score_card::GraphScores| -> Vec<f64> {
        graph.candidates.iter().filter_map(|(_, scores)| scores.get(METRIC).copied()).collect()
    };
    let best = graphs.iter().map(|graph| scores(graph).into_iter().fold(0.0, f64::max)).collect();
    (mean(graphs.iter().flat_map(scores).collect()), mean(best))
}

fn round(seconds: f64) -> Value {
    json!((seconds * 10.0).round() / 10.0)
}

fn fine(what: &'static str, state: TaskState, error: Option<&Value>) -> Result<()> {
    match state {
        TaskState::Failed | TaskState::Cancelled => Err(ended(what, state.as_str(), error)),
        _ => Ok(()),
    }
}

fn ended(what: &str, state: &str, error: Option<&Value>) -> Error {
    let reason = error.and_then(|error| error["message"].as_str()).unwrap_or("no reason was given");
    Error::conflict("demo_stage_ended", format!("the demo's {what} is {state}: {reason}"))
}

/// A clock that goes on from what a stage took before.
struct Begun {
    before: f64,
    at: Instant,
}

impl Begun {
    fn now(stage: &Stage) -> Self {
        Self { before: stage.seconds, at: Instant::now() }
    }

    fn seconds(&self) -> f64 {
        self.before + self.at.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_gets_the_graphs_it_asks_for() {
        let plan = DemoPlan::small(3);
        let records = synthetic_graphs(&plan).unwrap();
        assert_eq!(records.len(), plan.train_graphs + plan.evaluation_graphs + plan.selection_graphs);
        assert_eq!(records, synthetic_graphs(&plan).unwrap());
        let splits: Vec<Split> =
            records.iter().map(|record| SceneGraph::from_laion_sg(record).unwrap().split()).collect();
        assert!(splits[..plan.train_graphs].iter().all(|split| *split == Split::Train));
        assert!(splits[plan.train_graphs..].iter().all(|split| *split == Split::HeldOut));
    }
}
