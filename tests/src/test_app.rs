//! The real router on a real Postgres, each test with a database of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use builder::blob::BlobStore;
use builder::model_registry::{Compute, ModelRegistry};
use builder::store;
use builder::task::{TaskContext, queue};
use models::trainer::tensor_cache::CacheLimits;
use serde_json::Value;
use server::state::{AppState, Limits};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

/// The database that every test's is a copy of.
const TEMPLATE: &str = "diptych_template";
/// What the names of the tests' databases begin with.
const PREFIX: &str = "http_test_";

/// The model of the repository.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny");

/// Every request of this process, as "METHOD /path", for the test of coverage.
static CALLED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A cluster with a migrated database to copy.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Of the cluster's own database.
    url: String,
}

impl Cluster {
    /// Makes the template in the cluster at `url`, and clears up what a broken-off run has left.
    pub async fn prepare(url: &str) -> anyhow::Result<Self> {
        let cluster = Self { url: url.to_owned() };
        let mut connection = PgConnection::connect(url).await?;
        let old: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'"
        )))
        .fetch_all(&mut connection)
        .await?;
        for name in old {
            let statement = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
            sqlx::raw_sql(statement).execute(&mut connection).await?;
        }
        sqlx::raw_sql("DROP DATABASE IF EXISTS diptych_template WITH (FORCE)").execute(&mut connection).await?;
        sqlx::raw_sql("CREATE DATABASE diptych_template").execute(&mut connection).await?;
        let pool = store::connect(&cluster.url_of(TEMPLATE)).await?;
        store::migrate(&pool).await?;
        queue::migrate(&pool).await?;
        pool.close().await;
        Ok(cluster)
    }

    fn url_of(&self, database: &str) -> String {
        // postgres://user@host/DATABASE?…
        let (head, options) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (server, _) = head.rsplit_once('/').unwrap_or((head, ""));
        format!("{server}/{database}?{options}")
    }

    async fn copy(&self) -> anyhow::Result<String> {
        let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&self.url).await?;
        // Copies of one template wait for each other; Postgres refuses rather than waits.
        let _alone = ONE_COPY_AT_A_TIME.lock().await;
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"));
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        Ok(name)
    }
}

static ONE_COPY_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A service of one test.
pub struct TestApp {
    /// What its handlers reach.
    pub state: AppState,
    router: Router,
    // Deleted with the test.
    _data: tempfile::TempDir,
}

impl TestApp {
    /// An empty store, no worker.
    pub async fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        Self::with_limits(cluster, Limits::default()).await
    }

    /// An empty store with other limits.
    pub async fn with_limits(cluster: &Cluster, limits: Limits) -> anyhow::Result<Self> {
        let database = cluster.copy().await?;
        let data = tempfile::tempdir()?;
        let context = TaskContext {
            pool: store::connect(&cluster.url_of(&database)).await?,
            blobs: BlobStore::local(&data.path().join("blobs"))?,
            models: ModelRegistry::new(PathBuf::from(MODEL), Compute::default()),
            data: data.path().to_path_buf(),
            cache_limits: CacheLimits::default(),
            shutdown: CancellationToken::new(),
        };
        let state = AppState::new(context, limits);
        tokio::spawn(server::events::listen(state.clone()));
        Ok(Self { router: server::router::router(state.clone()), state, _data: data })
    }

    /// An empty store with a worker that works through its queue until the app is dropped.
    pub async fn with_worker(cluster: &Cluster) -> anyhow::Result<Self> {
        let app = Self::new(cluster).await?;
        let context = app.state.context.clone();
        tokio::spawn(async move { queue::run(&context, 1).await });
        Ok(app)
    }

    /// A connection to the test's database.
    pub async fn connection(&self) -> anyhow::Result<sqlx::pool::PoolConnection<sqlx::Postgres>> {
        Ok(self.state.context.pool.acquire().await?)
    }

    /// Sends a request through every layer.
    pub async fn send(&self, request: Request<Body>) -> anyhow::Result<axum::response::Response> {
        let called = format!("{} {}", request.method(), request.uri().path());
        CALLED.lock().unwrap_or_else(PoisonError::into_inner).insert(called);
        Ok(self.router.clone().oneshot(request).await?)
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let request = Request::builder().uri(path).body(Body::empty())?;
        Answer::read(self.send(request).await?).await
    }

    /// POST of a JSON document.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.request(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Any request.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(self.send(request.body(body.into())?).await?).await
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.state.context.shutdown.cancel();
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    async fn read(response: axum::response::Response) -> anyhow::Result<Self> {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 256 << 20).await?.to_vec();
        Ok(Self { status: parts.status, headers: parts.headers, body })
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}: {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The document, where the status is as expected.
    pub fn expect(&self, status: u16) -> anyhow::Result<Value> {
        anyhow::ensure!(self.status.as_u16() == status, "{} instead of {status}: {}", self.status, self.text());
        self.json()
    }

    /// The problem document, where the answer is one of this status and code.
    pub fn problem(&self, status: u16, code: &str) -> anyhow::Result<Value> {
        let problem = self.expect(status)?;
        anyhow::ensure!(problem["code"] == code, "{code} expected: {problem}");
        let media_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        anyhow::ensure!(media_type == Some("application/problem+json"), "media type {media_type:?}");
        anyhow::ensure!(problem["status"] == status && problem["title"].is_string(), "{problem}");
        Ok(problem)
    }
}

/// Operations of the document, as "METHOD /path/{parameter}", that no request so far has called.
pub fn uncalled(document: &Value) -> Vec<String> {
    let called = CALLED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut missing = Vec::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for method in operations.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()) {
            let hit = called.iter().any(|one| {
                one.split_once(' ').is_some_and(|(its_method, its_path)| its_method == method && fits(path, its_path))
            });
            if !hit {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    missing
}

/// Whether `path` is one of `template`'s; a longer literal path never is.
fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other || one.starts_with('{') => {}
            _ => return false,
        }
    }
}
