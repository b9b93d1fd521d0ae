//! The index that lists of graphs are found by, kept while nothing in the store has changed (see [`crate::unchanged`]).
//!
//! A store that changes with every step of a training is asked itself: the index is made when the same snapshot is seen for
//! the second time.

use std::sync::Arc;

use builder::store::graph_index::GraphIndex;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::problem::Result;
use crate::unchanged::Snapshot;

#[derive(Default)]
enum Kept {
    #[default]
    Nothing,
    /// Seen once.
    Seen(Snapshot),
    /// `None`: there are too many graphs.
    Made(Snapshot, Option<Arc<GraphIndex>>),
}

/// The kept index.
#[derive(Clone, Default)]
pub struct KeptIndex(Arc<Mutex<Kept>>);

impl KeptIndex {
    /// The index of the store as `snapshot` saw it, if there is one.
    pub async fn find(&self, pool: &PgPool, snapshot: &Snapshot) -> Result<Option<Arc<GraphIndex>>> {
        // Held while the index is made: callers that see the same snapshot wait for it.
        let mut kept = self.0.lock().await;
        match &*kept {
            Kept::Made(its, index) if its == snapshot => return Ok(index.clone()),
            Kept::Seen(its) if its == snapshot => {}
            _ => {
                *kept = Kept::Seen(snapshot.clone());
                return Ok(None);
            }
        }
        let mut connection = pool.acquire().await.map_err(builder::Error::from)?;
        let index = GraphIndex::load(&mut connection).await?.map(Arc::new);
        *kept = Kept::Made(snapshot.clone(), index.clone());
        Ok(index)
    }
}
