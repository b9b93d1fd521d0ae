//! Models that made something of the store: table `model`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use crate::Result;

/// A diffusers folder, known by the hash of its weights and configurations.
#[derive(Clone, Debug)]
pub struct Model {
    pub hash: String,
    pub name: String,
    pub path: String,
    pub config: Value,
    pub created_at: DateTime<Utc>,
}

/// Adds a model, or moves a known one to another name and path.
pub async fn upsert(conn: &mut PgConnection, hash: &str, name: &str, path: &str, config: &Value) -> Result<()> {
    sqlx::query!(
        "INSERT INTO model (hash, name, path, config) VALUES ($1, $2, $3, $4)
         ON CONFLICT (hash) DO UPDATE SET name = excluded.name, path = excluded.path, config = excluded.config",
        hash,
        name,
        path,
        config,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn find(conn: &mut PgConnection, hash: &str) -> Result<Option<Model>> {
    Ok(sqlx::query_as!(Model, "SELECT hash, name, path, config, created_at FROM model WHERE hash = $1", hash)
        .fetch_optional(conn)
        .await?)
}

/// The newest model with this name; not one that is known from imported pictures alone.
pub async fn find_by_name(conn: &mut PgConnection, name: &str) -> Result<Option<Model>> {
    Ok(sqlx::query_as!(
        Model,
        "SELECT hash, name, path, config, created_at FROM model WHERE name = $1 AND path <> '' ORDER BY created_at DESC LIMIT 1",
        name,
    )
    .fetch_optional(conn)
    .await?)
}

/// Those with a folder, newest first.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Model>> {
    Ok(sqlx::query_as!(
        Model,
        "SELECT hash, name, path, config, created_at FROM model WHERE path <> '' ORDER BY created_at DESC, hash"
    )
    .fetch_all(conn)
    .await?)
}
