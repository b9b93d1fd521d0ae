//! Who answered what about an image: table `answer`.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// An answer as it is stored; `value` is `yes`, `no` or `cannot_answer`.
#[derive(Clone, Debug)]
pub struct Answer {
    pub candidate_id: Uuid,
    pub question_id: i32,
    pub answerer: String,
    pub answerer_version: String,
    pub value: String,
    pub probability: f32,
    /// Milliseconds from asking to having it, where known.
    pub latency_ms: Option<f32>,
}

/// Adds or replaces, by (candidate, answerer, version, question).
pub async fn upsert_many(conn: &mut PgConnection, answers: &[Answer]) -> Result<()> {
    let candidate_ids: Vec<Uuid> = answers.iter().map(|one| one.candidate_id).collect();
    let question_ids: Vec<i32> = answers.iter().map(|one| one.question_id).collect();
    let answerers: Vec<&str> = answers.iter().map(|one| &*one.answerer).collect();
    let versions: Vec<&str> = answers.iter().map(|one| &*one.answerer_version).collect();
    let values: Vec<&str> = answers.iter().map(|one| &*one.value).collect();
    let latencies: Vec<Option<f32>> = answers.iter().map(|one| one.latency_ms).collect();
    let probabilities: Vec<f32> = answers.iter().map(|one| one.probability).collect();
    sqlx::query!(
        "INSERT INTO answer (candidate_id, question_id, answerer, answerer_version, value, probability, latency_ms)
         SELECT candidate_id, question_id, answerer, answerer_version, value::answer_value, probability, latency_ms
         FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::real[], $7::real[])
              AS t (candidate_id, question_id, answerer, answerer_version, value, probability, latency_ms)
         ON CONFLICT ON CONSTRAINT answer_pkey
         DO UPDATE SET value = excluded.value, probability = excluded.probability, latency_ms = excluded.latency_ms",
        &candidate_ids,
        &question_ids,
        &answerers as &[&str],
        &versions as &[&str],
        &values as &[&str],
        &probabilities,
        &latencies as &[Option<f32>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Of these candidates, by candidate, answerer and question.
pub async fn of_candidates(conn: &mut PgConnection, candidate_ids: &[Uuid]) -> Result<Vec<Answer>> {
    Ok(sqlx::query_as!(
        Answer,
        r#"SELECT candidate_id, question_id, answerer, answerer_version, value::text AS "value!", probability,
                  latency_ms
           FROM answer WHERE candidate_id = ANY ($1)
           ORDER BY candidate_id, answerer, answerer_version, question_id"#,
        candidate_ids,
    )
    .fetch_all(conn)
    .await?)
}

/// Of these candidates, one answerer's, by candidate and question.
pub async fn of_answerer(
    conn: &mut PgConnection,
    candidate_ids: &[Uuid],
    answerer: &str,
    answerer_version: &str,
) -> Result<Vec<Answer>> {
    Ok(sqlx::query_as!(
        Answer,
        r#"SELECT candidate_id, question_id, answerer, answerer_version, value::text AS "value!", probability,
                  latency_ms
           FROM answer WHERE candidate_id = ANY ($1) AND answerer = $2 AND answerer_version = $3
           ORDER BY candidate_id, question_id"#,
        candidate_ids,
        answerer,
        answerer_version,
    )
    .fetch_all(conn)
    .await?)
}

/// Versions under which somebody's answers are here.
pub async fn versions(conn: &mut PgConnection, answerer: &str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!("SELECT DISTINCT answerer_version FROM answer WHERE answerer = $1 ORDER BY 1", answerer)
        .fetch_all(conn)
        .await?)
}

/// What two versions of an answerer said of the same questions: how often (yes, yes), (yes, no), (no, yes), (no, no); and the
/// mean difference of their probabilities. Refusals do not count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retest {
    pub both_yes: i64,
    pub only_first: i64,
    pub only_second: i64,
    pub both_no: i64,
    /// None without an answer in both.
    pub mean_difference: Option<f64>,
}

pub async fn retest(conn: &mut PgConnection, answerer: &str, first: &str, second: &str) -> Result<Retest> {
    Ok(sqlx::query_as!(
        Retest,
        r#"SELECT count(*) FILTER (WHERE a.value = 'yes' AND b.value = 'yes') AS "both_yes!",
                  count(*) FILTER (WHERE a.value = 'yes' AND b.value = 'no') AS "only_first!",
                  count(*) FILTER (WHERE a.value = 'no' AND b.value = 'yes') AS "only_second!",
                  count(*) FILTER (WHERE a.value = 'no' AND b.value = 'no') AS "both_no!",
                  avg(abs(a.probability - b.probability)) AS mean_difference
           FROM answer a JOIN answer b USING (candidate_id, question_id, answerer)
           WHERE a.answerer = $1 AND a.answerer_version = $2 AND b.answerer_version = $3
             AND a.value <> 'cannot_answer' AND b.value <> 'cannot_answer'"#,
        answerer,
        first,
        second,
    )
    .fetch_one(conn)
    .await?)
}
