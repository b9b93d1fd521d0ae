//! Postgres: one file a table family. Functions take a connection and leave transactions to the caller; rows are plain
//! structs. SQL is checked at compile time against `migrations/` (offline data in `.sqlx/`, made by
//! `scripts/prepare-queries.sh`); only filtered lists are put together at run time, in `graph.rs`.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::{Error, Result};

pub mod answer;
pub mod candidate;
pub mod checkpoint;
pub mod collection;
pub mod detection;
pub mod edit;
pub mod evaluation;
pub mod export;
pub mod frechet_distance;
pub mod generation;
pub mod graph;
pub mod graph_index;
pub mod graph_revision;
pub mod graph_search;
pub mod ingest;
pub mod inversion;
pub mod job;
pub mod job_event;
pub mod job_metric;
pub mod job_sample;
pub mod metric_network;
pub mod model;
pub mod page;
pub mod pairing;
pub mod question;
pub mod queue;
pub mod rate;
pub mod score_card;
pub mod score_failure;
pub mod score_run;
pub mod setting;
pub mod state;
mod task_row;
pub mod token;
pub mod vote;
pub mod webhook;

/// All migrations, baked in.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Opens a pool; connections are made when they are needed.
///
/// # Errors
/// `Invalid` when the URL cannot be read, `Store` when nobody answers.
pub async fn connect(url: &str) -> Result<PgPool> {
    let options: PgConnectOptions =
        url.parse().map_err(|error| Error::invalid("", format!("the database URL: {error}")))?;
    let pool = PgPoolOptions::new()
        .max_connections(16)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options.application_name("diptych"))
        .await?;
    Ok(pool)
}

/// Which transactions a reader sees now: as long as it is the same, so is everything that is read.
///
/// # Errors
/// Those of the store.
pub async fn snapshot(conn: &mut sqlx::PgConnection) -> Result<String> {
    Ok(sqlx::query_scalar!(r#"SELECT pg_current_snapshot()::text AS "snapshot!""#).fetch_one(conn).await?)
}

/// Brings the schema up to date. Safe to call from several processes at once (sqlx takes an advisory lock).
pub async fn migrate(pool: &PgPool) -> Result<()> {
    Ok(MIGRATOR.run(pool).await?)
}
