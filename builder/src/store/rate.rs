//! How fast things went: read from what finished jobs left behind, for the estimate of the next one.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// Candidates of a pairing that were made alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub model_hash: String,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub sampler: String,
    pub num_images: i64,
}

/// How the candidates of a pairing were made, the most frequent way first.
pub async fn origins(conn: &mut PgConnection, pairing_id: Uuid) -> Result<Vec<Origin>> {
    Ok(sqlx::query_as!(
        Origin,
        r#"SELECT g.model_hash, g.num_inference_steps, g.guidance_scale, g.sampler, count(*) AS "num_images!"
           FROM candidate c JOIN generation g ON g.id = c.generation_id
           WHERE c.id IN (SELECT winner_id FROM pair WHERE pairing_id = $1
                          UNION SELECT loser_id FROM pair WHERE pairing_id = $1)
           GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4"#,
        pairing_id,
    )
    .fetch_all(conn)
    .await?)
}

/// Median seconds that a pair took in a step of the latest five jobs with this objective and this trained part, on
/// candidates of this model; `None` where there was none.
pub async fn seconds_a_pair(
    conn: &mut PgConnection,
    model_hash: &str,
    objective: &Value,
    trainable: &Value,
) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar!(
        "WITH alike AS (
             SELECT j.id, (j.spec->>'batch_size')::double precision
                          * coalesce((j.spec->>'gradient_accumulation_steps')::double precision, 1) AS pairs
             FROM job j
             WHERE (j.spec->'objective')::jsonb = $2::json::jsonb AND (j.spec->'trainable')::jsonb = $3::json::jsonb
               AND EXISTS (SELECT FROM pair p JOIN candidate c ON c.id = p.winner_id
                                   JOIN generation g ON g.id = c.generation_id
                           WHERE p.pairing_id = j.pairing_id AND g.model_hash = $1)
             ORDER BY j.id DESC LIMIT 5
         )
         SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY (m.metrics->>'seconds')::double precision / a.pairs)
         FROM alike a JOIN job_metric m ON m.job_id = a.id WHERE m.metrics->>'seconds' IS NOT NULL",
        model_hash,
        objective,
        trainable,
    )
    .fetch_one(conn)
    .await?)
}
