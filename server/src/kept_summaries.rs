//! What lists show of each graph, kept while nothing in the store has changed (see [`crate::unchanged`]).
//!
//! A list that nobody asked before is mostly made of graphs that another list showed: finding its ids is one query, describing
//! them five.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use builder::store;
use sqlx::PgPool;
use uuid::Uuid;

use crate::api::graphs::{GraphSummary, summarize};
use crate::problem::Result;
use crate::unchanged::Snapshot;

/// Graphs whose summaries are kept; one takes some 2 kB.
const MOST: usize = 20_000;

#[derive(Default)]
struct Kept {
    snapshot: Option<Snapshot>,
    summaries: HashMap<Uuid, Arc<GraphSummary>>,
}

/// The kept summaries, all seen in one snapshot.
#[derive(Clone, Default)]
pub struct KeptSummaries(Arc<Mutex<Kept>>);

impl KeptSummaries {
    /// The summaries of `ids` in their order, those that do not exist left out. `snapshot` was taken before `ids` were found.
    pub async fn describe(&self, pool: &PgPool, snapshot: Snapshot, ids: &[Uuid]) -> Result<Vec<Arc<GraphSummary>>> {
        let mut found = self.find(&snapshot, ids);
        let missing: Vec<Uuid> = ids.iter().copied().filter(|id| !found.contains_key(id)).collect();
        if !missing.is_empty() {
            let mut connection = pool.acquire().await.map_err(builder::Error::from)?;
            let graphs = store::graph::load_many(&mut connection, &missing).await?;
            let summaries: Vec<Arc<GraphSummary>> =
                summarize(&mut connection, graphs).await?.into_iter().map(Arc::new).collect();
            self.keep(snapshot, &summaries);
            found.extend(summaries.into_iter().map(|summary| (summary.id, summary)));
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    fn find(&self, snapshot: &Snapshot, ids: &[Uuid]) -> HashMap<Uuid, Arc<GraphSummary>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.snapshot.as_ref() != Some(snapshot) {
            return HashMap::new();
        }
        ids.iter().filter_map(|id| Some((*id, Arc::clone(kept.summaries.get(id)?)))).collect()
    }

    fn keep(&self, snapshot: Snapshot, summaries: &[Arc<GraphSummary>]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.snapshot.as_ref() != Some(&snapshot) || kept.summaries.len() + summaries.len() > MOST {
            *kept = Kept { snapshot: Some(snapshot), summaries: HashMap::new() };
        }
        kept.summaries.extend(summaries.iter().map(|summary| (summary.id, Arc::clone(summary))));
    }
}
