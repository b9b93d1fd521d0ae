//! A real Postgres for tests: one embedded server that every test process joins, a database of its own for each test.

use std::path::PathBuf;

use anyhow::{Context, Result};
use server::embedded_postgres::{self, EmbeddedPostgres};
use sqlx::{Connection, PgConnection, PgPool};

/// A migrated, empty database. Call [`TestDatabase::close`] at the end: it drops the database, and stops the server when no
/// other test uses it. A test that panics leaves both, and the next run clears up.
#[derive(Debug)]
pub struct TestDatabase {
    pub pool: PgPool,
    pub url: String,
    name: String,
    server: EmbeddedPostgres,
}

impl TestDatabase {
    pub async fn new() -> Result<Self> {
        let server = embedded_postgres::start(&server_folder()).await?;
        let name = format!("test_{}", builder::id::new().simple());
        let mut admin = PgConnection::connect(&server.url).await?;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await?;
        admin.close().await?;
        let url = server.url.replacen("/diptych?", &format!("/{name}?"), 1);
        let pool = builder::store::connect(&url).await?;
        builder::store::migrate(&pool).await?;
        Ok(Self { pool, url, name, server })
    }

    pub async fn close(self) -> Result<()> {
        self.pool.close().await;
        let mut admin = PgConnection::connect(&self.server.url).await?;
        sqlx::query(sqlx::AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name)))
            .execute(&mut admin)
            .await?;
        admin.close().await?;
        self.server.stop().await.context("stopping the embedded server")
    }
}

/// In the build folder, where it survives from run to run: making a cluster takes seconds, starting one does not.
fn server_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-postgres")
}

/// The shared test data; a test that needs it fails where it is missing.
pub fn shared_data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path)
}
