//! Images made of graphs: table `candidate`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// A candidate with what its generation says about how it was made.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub id: Uuid,
    pub generation_id: Uuid,
    pub graph_id: Uuid,
    pub index: i32,
    pub seed: i64,
    pub image_blob: String,
    pub latent_blob: Option<String>,
    pub created_at: DateTime<Utc>,
    pub model_hash: String,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub sampler: String,
}

#[derive(Clone, Debug)]
pub struct NewCandidate {
    pub id: Uuid,
    pub generation_id: Uuid,
    pub graph_id: Uuid,
    pub index: i32,
    pub seed: i64,
    pub image_blob: String,
    pub latent_blob: Option<String>,
}

/// Adds those that are not there yet, by (generation, graph, index); returns how many were new. The blobs must be written
/// before.
pub async fn insert_many(conn: &mut PgConnection, new: &[NewCandidate]) -> Result<u64> {
    let ids: Vec<Uuid> = new.iter().map(|one| one.id).collect();
    let generation_ids: Vec<Uuid> = new.iter().map(|one| one.generation_id).collect();
    let graph_ids: Vec<Uuid> = new.iter().map(|one| one.graph_id).collect();
    let indexes: Vec<i32> = new.iter().map(|one| one.index).collect();
    let seeds: Vec<i64> = new.iter().map(|one| one.seed).collect();
    let images: Vec<&str> = new.iter().map(|one| &*one.image_blob).collect();
    let latents: Vec<Option<&str>> = new.iter().map(|one| one.latent_blob.as_deref()).collect();
    let done = sqlx::query!(
        "INSERT INTO candidate (id, generation_id, graph_id, index, seed, image_blob, latent_blob)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::bigint[], $6::text[], $7::text[])
         ON CONFLICT ON CONSTRAINT candidate_generation_graph_index_key DO NOTHING",
        &ids,
        &generation_ids,
        &graph_ids,
        &indexes,
        &seeds,
        &images as &[&str],
        &latents as &[Option<&str>],
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Candidate>> {
    Ok(load_many(conn, &[id]).await?.pop())
}

/// Those of `ids` that exist, in no particular order.
pub async fn load_many(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Candidate>> {
    Ok(sqlx::query_as!(
        Candidate,
        "SELECT c.id, c.generation_id, c.graph_id, c.index, c.seed, c.image_blob, c.latent_blob, c.created_at,
                g.model_hash, g.num_inference_steps, g.guidance_scale, g.sampler
         FROM candidate c JOIN generation g ON g.id = c.generation_id
         WHERE c.id = ANY ($1)",
        ids,
    )
    .fetch_all(conn)
    .await?)
}

/// Of these graphs, ordered by graph, newest generation first, then index.
pub async fn of_graphs(conn: &mut PgConnection, graph_ids: &[Uuid]) -> Result<Vec<Candidate>> {
    Ok(sqlx::query_as!(
        Candidate,
        "SELECT c.id, c.generation_id, c.graph_id, c.index, c.seed, c.image_blob, c.latent_blob, c.created_at,
                g.model_hash, g.num_inference_steps, g.guidance_scale, g.sampler
         FROM candidate c JOIN generation g ON g.id = c.generation_id
         WHERE c.graph_id = ANY ($1)
         ORDER BY c.graph_id, c.generation_id DESC, c.index",
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}

/// (graph, index) of what a generation has made so far.
pub async fn keys(conn: &mut PgConnection, generation_id: Uuid) -> Result<Vec<(Uuid, i32)>> {
    let rows = sqlx::query!("SELECT graph_id, index FROM candidate WHERE generation_id = $1", generation_id)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.graph_id, row.index)).collect())
}

pub async fn count(conn: &mut PgConnection, generation_id: Option<Uuid>) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM candidate WHERE $1::uuid IS NULL OR generation_id = $1"#,
        generation_id,
    )
    .fetch_one(conn)
    .await?)
}

/// A candidate that an answerer has to look at.
#[derive(Clone, Debug)]
pub struct Unscored {
    pub id: Uuid,
    pub graph_id: Uuid,
    pub image_blob: String,
}

/// Whose scores a candidate lacks.
#[derive(Clone, Copy, Debug)]
pub struct ScoredBy<'a> {
    pub answerer: &'a str,
    pub answerer_version: &'a str,
    /// The metric that a candidate has once it is scored; `None`: any.
    pub metric: Option<&'a str>,
}

/// At most `limit` candidates after `after` (by graph, then id, so that a graph's candidates come together) that have no
/// score card of this scorer, or a failure of it.
pub async fn unscored(
    conn: &mut PgConnection,
    generation_id: Option<Uuid>,
    by: ScoredBy<'_>,
    after: Option<(Uuid, Uuid)>,
    limit: i64,
) -> Result<Vec<Unscored>> {
    let (after_graph, after_id) = after.unwrap_or((Uuid::nil(), Uuid::nil()));
    Ok(sqlx::query_as!(
        Unscored,
        "SELECT c.id, c.graph_id, c.image_blob FROM candidate c
         WHERE ($1::uuid IS NULL OR c.generation_id = $1) AND (c.graph_id, c.id) > ($4::uuid, $5::uuid)
           AND (c.id NOT IN (SELECT candidate_id FROM score_card
                             WHERE answerer = $2 AND answerer_version = $3 AND ($7::text IS NULL OR metric = $7))
                OR c.id IN (SELECT candidate_id FROM score_failure WHERE answerer = $2 AND answerer_version = $3))
         ORDER BY c.graph_id, c.id LIMIT $6",
        generation_id,
        by.answerer,
        by.answerer_version,
        after_graph,
        after_id,
        limit,
        by.metric,
    )
    .fetch_all(conn)
    .await?)
}

/// How many candidates have no score card of this scorer, or a failure of it.
pub async fn count_unscored(conn: &mut PgConnection, generation_id: Option<Uuid>, by: ScoredBy<'_>) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM candidate c
           WHERE ($1::uuid IS NULL OR c.generation_id = $1)
             AND (c.id NOT IN (SELECT candidate_id FROM score_card
                               WHERE answerer = $2 AND answerer_version = $3 AND ($4::text IS NULL OR metric = $4))
                  OR c.id IN (SELECT candidate_id FROM score_failure WHERE answerer = $2 AND answerer_version = $3))"#,
        generation_id,
        by.answerer,
        by.answerer_version,
        by.metric,
    )
    .fetch_one(conn)
    .await?)
}

/// Where the pictures of a generation lie, by graph and index.
pub async fn image_blobs(conn: &mut PgConnection, generation_id: Uuid) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        "SELECT image_blob FROM candidate WHERE generation_id = $1 ORDER BY graph_id, index",
        generation_id,
    )
    .fetch_all(conn)
    .await?)
}
