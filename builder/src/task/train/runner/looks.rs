//! What a run looks at on its way: pictures of held-out graphs, and the scores by which its best weights are chosen.

use std::path::Path;
use std::sync::Arc;

use models::pipeline::Pipeline;
use serde_json::{Value, json};

use super::{Best, Notes, Runner, Training};
use crate::Result;
use crate::candidate::{Purpose, seed};
use crate::store::graph::LoadedGraph;
use crate::store::job_sample::JobSample;
use crate::store::{job_event, job_sample};
use crate::task::evaluate::{Scored, sample_and_judge};

impl Runner<'_> {
    /// Whether the last selections, as many as the job's patience, were none of them the best.
    pub(super) fn out_of_patience(&self, notes: &Notes) -> bool {
        let patience = self.spec.evaluation.patience;
        let since = |best: &Best| notes.selections.iter().filter(|(step, _)| *step > best.step).count();
        patience > 0 && notes.best.as_ref().is_some_and(|best| since(best) >= patience)
    }

    /// Scores the weights on the selection graphs and keeps them when they are the best so far. `None`: the reference.
    pub(super) async fn select(
        &self,
        training: &mut Training,
        step: usize,
        trained: Option<(&Path, &Arc<Pipeline>)>,
    ) -> Result<()> {
        if training.selection.is_empty() {
            return Ok(());
        }
        let pipeline = trained.map_or(&training.reference, |(_, pipeline)| pipeline);
        let shots: Vec<(usize, i64)> = training
            .selection
            .iter()
            .enumerate()
            .map(|(place, graph)| (place, seed(Purpose::Selection, self.spec.evaluation.seed, &graph.content_hash, 0)))
            .collect();
        let scores: Vec<f64> =
            self.make(training, pipeline, &training.selection, &shots).await?.iter().map(|one| one.score).collect();
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        if let Some((file, _)) = trained {
            training.notes.selections.push((step, mean));
            training.notes.deltas.extend(paired_delta(&training.notes.base_scores, &scores).map(|delta| (step, delta)));
            if training.notes.best.as_ref().is_none_or(|best| mean > best.score) {
                let content = fs_err::tokio::read(file).await?;
                let bytes = content.len() as i64;
                let blob = self.context.blobs.put(content).await?;
                training.notes.best = Some(Best { step, score: mean, blob, bytes });
            }
        } else {
            training.notes.base_selection_score = Some(mean);
            training.notes.base_scores.clone_from(&scores);
        }
        let mut metrics = json!({ "selection_score": mean });
        if let (Some(base), Value::Object(fields)) = (training.notes.base_selection_score, &mut metrics) {
            fields.insert("selection_base_score".to_owned(), base.into());
        }
        self.event("selection", &json!({ "step": step, "score": mean, "graphs": training.selection.len() })).await?;
        self.add_to_metrics(step, metrics).await
    }

    /// Pictures of a few held-out graphs, with the same seeds each time.
    pub(super) async fn show(&self, training: &Training, step: usize, pipeline: &Arc<Pipeline>) -> Result<()> {
        let graphs: Vec<LoadedGraph> = training.comparison.iter().take(self.spec.sample_graphs).cloned().collect();
        if graphs.is_empty() {
            return Ok(());
        }
        let shots: Vec<(usize, i64)> = graphs
            .iter()
            .enumerate()
            .map(|(place, graph)| (place, seed(Purpose::Sample, self.spec.seed, &graph.content_hash, 0)))
            .collect();
        let made = self.make(training, pipeline, &graphs, &shots).await?;
        let mut samples = Vec::new();
        for ((graph, (_, seed)), one) in graphs.iter().zip(&shots).zip(made) {
            samples.push(JobSample {
                job_id: self.id,
                step: step as i32,
                graph_id: graph.id,
                index: 0,
                seed: *seed,
                image_blob: self.context.blobs.put(one.png).await?,
            });
        }
        let mut transaction = self.context.pool.begin().await?;
        for sample in &samples {
            job_sample::upsert(&mut transaction, sample).await?;
        }
        job_event::append(&mut transaction, self.id, "sample", &json!({ "step": step, "images": samples.len() }))
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(super) async fn make(
        &self,
        training: &Training,
        pipeline: &Arc<Pipeline>,
        graphs: &[LoadedGraph],
        shots: &[(usize, i64)],
    ) -> Result<Vec<Scored>> {
        let mut made = Vec::with_capacity(shots.len());
        for batch in shots.chunks(crate::task::sampling::BATCH) {
            made.extend(sample_and_judge(pipeline, &training.answerer, graphs, batch, training.sampling).await?);
        }
        Ok(made)
    }
}

/// Mean and standard error of the differences; none with fewer than two, or where the base was not scored.
fn paired_delta(base: &[f64], scores: &[f64]) -> Option<(f64, f64)> {
    if base.len() != scores.len() || scores.len() < 2 {
        return None;
    }
    let deltas: Vec<f64> = scores.iter().zip(base).map(|(score, base)| score - base).collect();
    let count = deltas.len() as f64;
    let mean = deltas.iter().sum::<f64>() / count;
    let variance = deltas.iter().map(|delta| (delta - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((mean, (variance / count).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_differences() {
        let (mean, se) = paired_delta(&[0.5, 0.5, 0.5], &[0.6, 0.7, 0.5]).unwrap();
        assert!((mean - 0.1).abs() < 1e-12 && (se - (0.01f64 / 3.0).sqrt()).abs() < 1e-12, "{mean} {se}");
        assert_eq!(paired_delta(&[0.5], &[0.6]), None);
    }
}
