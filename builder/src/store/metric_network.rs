//! Networks that judge images, as an operator has registered them: table `metric_network`.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;
use crate::scorer::NetworkFiles;

/// A registered network.
#[derive(Clone, Debug)]
pub struct MetricNetwork {
    pub name: String,
    /// The scorer that it is for.
    pub scorer: String,
    pub path: String,
    pub processor: Option<String>,
    pub head: Option<String>,
    /// Version of the scorer that it makes.
    pub version: String,
    pub created_at: DateTime<Utc>,
}

impl MetricNetwork {
    /// Where it lies.
    pub fn files(&self) -> NetworkFiles {
        NetworkFiles {
            folder: PathBuf::from(&self.path),
            processor: self.processor.as_deref().map(PathBuf::from),
            head: self.head.as_deref().map(PathBuf::from),
        }
    }
}

/// Registers a network under `name`, or puts another in its place.
pub async fn upsert(
    conn: &mut PgConnection,
    name: &str,
    scorer: &str,
    files: &NetworkFiles,
    version: &str,
) -> Result<()> {
    let text = |path: &PathBuf| path.display().to_string();
    sqlx::query!(
        "INSERT INTO metric_network (name, scorer, path, processor, head, version) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT metric_network_pkey
         DO UPDATE SET scorer = excluded.scorer, path = excluded.path, processor = excluded.processor,
                       head = excluded.head, version = excluded.version, created_at = now()",
        name,
        scorer,
        text(&files.folder),
        files.processor.as_ref().map(text),
        files.head.as_ref().map(text),
        version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<MetricNetwork>> {
    Ok(sqlx::query_as!(
        MetricNetwork,
        "SELECT name, scorer, path, processor, head, version, created_at FROM metric_network WHERE name = $1",
        name,
    )
    .fetch_optional(conn)
    .await?)
}

/// All of them, by name.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<MetricNetwork>> {
    Ok(sqlx::query_as!(
        MetricNetwork,
        "SELECT name, scorer, path, processor, head, version, created_at FROM metric_network ORDER BY name"
    )
    .fetch_all(conn)
    .await?)
}
