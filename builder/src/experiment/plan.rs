//! The file of an experiment, read and checked before anything runs.
//!
//! ```toml
//! name = "objectives"
//! title = "Every objective at the same number of image-forwards"
//! seeds = [0, 1, 2]
//! image_forwards = 19200        # of each training; or `max_steps` in [training]
//!
//! [data]                        # candidates, and what they are compared on
//! graphs = 1000
//!
//! [training]                    # as the body of `POST /jobs`
//! batch_size = 16
//!
//! [[run]]
//! name = "diffusion-dpo"
//! [run.training]
//! objective = "diffusion-dpo"
//! ```

use std::collections::HashSet;

use models::pipeline::SampleSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::{Fault, Result};
use crate::job::JobSpec;
use crate::policy::Policy;
use crate::{Error, lint};

/// Graphs, candidates and the comparison, common to all runs but for what a run says itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataPlan {
    /// Of graphs, candidates and evaluation noises.
    pub seed: i64,
    /// Graphs of the world of shapes that get candidates.
    pub graphs: usize,
    /// Candidates a graph.
    pub num_candidates: u32,
    /// Sampling steps.
    pub num_inference_steps: u32,
    /// Guidance.
    pub guidance_scale: f64,
    /// Held-out graphs of the final comparison.
    pub evaluation_graphs: usize,
    /// Images a held-out graph and a model.
    pub num_noises: usize,
    /// Other held-out graphs, looked at while training.
    pub selection_graphs: usize,
}

impl Default for DataPlan {
    fn default() -> Self {
        Self {
            seed: 0,
            graphs: 1000,
            num_candidates: 4,
            num_inference_steps: 10,
            guidance_scale: 1.0,
            evaluation_graphs: 300,
            num_noises: 2,
            selection_graphs: 100,
        }
    }
}

impl DataPlan {
    /// How candidates are sampled.
    pub fn sampling(&self) -> SampleSettings {
        SampleSettings { num_inference_steps: self.num_inference_steps as usize, guidance_scale: self.guidance_scale }
    }
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    title: String,
    #[serde(default)]
    about: String,
    #[serde(default = "one_seed")]
    seeds: Vec<i64>,
    #[serde(default)]
    data: DataPlan,
    #[serde(default)]
    policy: Option<Value>,
    #[serde(default)]
    training: Map<String, Value>,
    image_forwards: Option<f64>,
    #[serde(default)]
    diagnose: usize,
    #[serde(rename = "run")]
    runs: Vec<RunFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunFile {
    name: String,
    graphs: Option<usize>,
    policy: Option<Value>,
    #[serde(default)]
    training: Map<String, Value>,
    seeds: Option<Vec<i64>>,
}

fn one_seed() -> Vec<i64> {
    vec![0]
}

/// An experiment, every default written out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExperimentPlan {
    /// Short, for file names.
    pub name: String,
    /// What is asked.
    pub title: String,
    /// What is claimed or expected, for readers of the table.
    pub about: String,
    /// Graphs and candidates.
    pub data: DataPlan,
    /// Images of each run on which the inversion is examined; 0: none.
    pub diagnose: usize,
    /// In the order of the file.
    pub runs: Vec<RunPlan>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunPlan {
    /// In the table.
    pub name: String,
    /// Graphs that get candidates.
    pub graphs: usize,
    /// How scores become pairs.
    pub policy: Policy,
    /// The same training with each seed; the pairing is not known yet.
    pub trials: Vec<Trial>,
}

/// One training of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The training's.
    pub seed: i64,
    /// The job; its pairing is filled in once there is one.
    pub spec: JobSpec,
}

impl ExperimentPlan {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// `Format` where it is no TOML or no experiment, with line and column; `Invalid` with every fault of its runs.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| Error::Format(error.to_string()))?;
        let mut faults = Vec::new();
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !is_name(&file.name) {
            faults.push(Fault::new("/name", "is made of letters, digits, - and _"));
        }
        if file.runs.is_empty() {
            faults.push(Fault::new("/run", "needs at least one"));
        }
        for (place, least, value) in [
            ("graphs", 1, file.data.graphs),
            ("num_candidates", 2, file.data.num_candidates as usize),
            ("num_inference_steps", 1, file.data.num_inference_steps as usize),
            ("evaluation_graphs", 2, file.data.evaluation_graphs),
            ("num_noises", 1, file.data.num_noises),
        ] {
            if value < least {
                faults.push(Fault::new(format!("/data/{place}"), format!("must be at least {least}")));
            }
        }
        let mut seen = HashSet::new();
        let mut runs = Vec::with_capacity(file.runs.len());
        for (place, run) in file.runs.iter().enumerate() {
            if !seen.insert(&run.name) {
                faults.push(Fault::new(format!("/run/{place}/name"), format!("`{}` is there twice", run.name)));
            }
            runs.extend(run.plan(place, &file, &mut faults));
        }
        if !faults.is_empty() {
            return Err(Error::Invalid(faults));
        }
        let File { name, title, about, data, diagnose, .. } = file;
        Ok(Self { name, title, about, data, diagnose, runs })
    }

    /// The same experiment, so small that it shows in seconds that every part works, and nothing more.
    #[must_use]
    pub fn smoke(mut self) -> Self {
        self.data = DataPlan {
            graphs: 8,
            num_candidates: 2,
            num_inference_steps: 2,
            evaluation_graphs: 3,
            num_noises: 2,
            selection_graphs: 2,
            ..self.data
        };
        self.diagnose = self.diagnose.min(2);
        for run in &mut self.runs {
            run.graphs = self.data.graphs;
            run.trials.truncate(1);
            for Trial { spec, .. } in &mut run.trials {
                spec.max_steps = 2;
                spec.warmup_steps = 1;
                spec.batch_size = 2;
                spec.objective.shorten(3);
                spec.evaluation.every = spec.evaluation.every.min(1);
                spec.evaluation.num_graphs = self.data.evaluation_graphs;
                spec.evaluation.selection_graphs = self.data.selection_graphs;
                spec.evaluation.num_noises = self.data.num_noises;
            }
        }
        self
    }

    /// The same experiment with only its first `count` seeds.
    #[must_use]
    pub fn with_seeds(mut self, count: usize) -> Self {
        self.runs.iter_mut().for_each(|run| run.trials.truncate(count));
        self
    }

    /// Trainings in all.
    pub fn num_trials(&self) -> usize {
        self.runs.iter().map(|run| run.trials.len()).sum()
    }
}

impl RunFile {
    fn plan(&self, place: usize, file: &File, faults: &mut Vec<Fault>) -> Option<RunPlan> {
        let policy = self.policy.as_ref().or(file.policy.as_ref());
        let policy = match policy.map_or_else(|| Ok(Policy::default()), Policy::parse) {
            Ok(policy) => policy,
            Err(found) => {
                let at = |(pointer, message)| Fault::new(format!("/run/{place}/policy{pointer}"), message);
                faults.extend(found.into_iter().map(at));
                return None;
            }
        };
        let mut trials = Vec::new();
        for &seed in self.seeds.as_ref().unwrap_or(&file.seeds) {
            match self.spec(file, seed) {
                Ok(spec) => trials.push(Trial { seed, spec }),
                Err(found) => {
                    let at =
                        |fault: Fault| Fault::new(format!("/run/{place}/training{}", fault.pointer), fault.message);
                    faults.extend(found.into_iter().map(at));
                    return None;
                }
            }
        }
        if trials.is_empty() {
            faults.push(Fault::new(format!("/run/{place}/seeds"), "needs at least one"));
        }
        Some(RunPlan { name: self.name.clone(), graphs: self.graphs.unwrap_or(file.data.graphs), policy, trials })
    }

    /// The file's settings, this run's over them, and what follows from the data.
    fn spec(&self, file: &File, seed: i64) -> Result<JobSpec, Vec<Fault>> {
        let mut request = file.training.clone();
        request.extend(self.training.clone());
        let reserved = ["pairing_id", "seed", "name"].into_iter().filter(|key| request.contains_key(*key));
        let reserved: Vec<Fault> = reserved
            .map(|key| Fault::new(format!("/{}", lint::pointer_segment(key)), "follows from the experiment"))
            .collect();
        if !reserved.is_empty() {
            return Err(reserved);
        }
        request.insert("pairing_id".to_owned(), json!(Uuid::nil()));
        request.insert("seed".to_owned(), json!(seed));
        request.insert("name".to_owned(), json!(format!("{}/{}/{seed}", file.name, self.name)));
        request.entry("sample_every").or_insert(json!(0));
        request.entry("checkpoint_every").or_insert(json!(100));
        let evaluation = request.entry("evaluation").or_insert_with(|| json!({}));
        if let Some(fields) = evaluation.as_object_mut() {
            for (name, value) in [
                ("num_graphs", json!(file.data.evaluation_graphs)),
                ("num_noises", json!(file.data.num_noises)),
                ("selection_graphs", json!(file.data.selection_graphs)),
                ("every", json!(50)),
                ("seed", json!(file.data.seed)),
            ] {
                fields.entry(name).or_insert(value);
            }
        }
        let mut spec = JobSpec::parse(&Value::Object(request.clone()))?;
        if let Some(budget) = file.image_forwards
            && !request.contains_key("max_steps")
        {
            let per_step = spec.image_forwards_per_step(file.data.sampling());
            spec.max_steps = ((budget / per_step).round() as usize).max(1);
            spec.warmup_steps = spec.warmup_steps.min(spec.max_steps);
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Objective;

    const FILE: &str = r#"
        name = "test"
        title = "A test"
        seeds = [0, 1]
        image_forwards = 640
        [data]
        graphs = 20
        [training]
        batch_size = 4
        [[run]]
        name = "a"
        [run.training]
        objective = "diffusion-dpo"
        [[run]]
        name = "b"
        graphs = 10
        policy = { weights = { dpg = 1 }, select = "all_above_margin" }
        seeds = [7]
        [run.training]
        objective = { name = "inversion-dpo-published", start = { warm_up = 2 }, num_inversion_steps = 10 }
        label_noise = 0.5
    "#;

    #[test]
    fn runs_share_what_they_do_not_say_and_cost_the_same() {
        let plan = ExperimentPlan::parse(FILE).unwrap();
        assert_eq!((plan.num_trials(), plan.runs[0].graphs, plan.runs[1].graphs), (3, 20, 10));
        let [first, second] = [&plan.runs[0].trials[1].spec, &plan.runs[1].trials[0].spec];
        assert_eq!((first.seed, first.batch_size, &first.objective), (1, 4, &Objective::DiffusionDpo {}));
        assert_eq!((first.max_steps, second.max_steps), (40, 2));
        assert_eq!((second.label_noise, second.warmup_steps, second.seed), (0.5, 2, 7));
        assert_eq!(first.evaluation.num_graphs, 300);
        let smoke = plan.smoke();
        assert_eq!((smoke.num_trials(), smoke.runs[0].trials[0].spec.max_steps), (2, 2));
    }

    #[test]
    fn faults_name_the_run_and_the_field() {
        let text = FILE.replace("\"diffusion-dpo\"", "\"telepathy\"").replace("dpg = 1", "dpg = \"x\"");
        let Err(Error::Invalid(faults)) = ExperimentPlan::parse(&text) else { panic!("no faults") };
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert!(pointers.contains(&"/run/0/training/objective/name"), "{pointers:?}");
        assert!(pointers.contains(&"/run/1/policy/weights/dpg"), "{pointers:?}");
        let unknown = FILE.replace("graphs = 20", "graph = 20");
        let Err(Error::Format(message)) = ExperimentPlan::parse(&unknown) else { panic!("no error") };
        assert!(message.contains("graph") && message.contains("line"), "{message}");
    }
}
