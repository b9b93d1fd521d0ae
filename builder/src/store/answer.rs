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
}

/// Adds or replaces, by (candidate, answerer, version, question).
pub async fn upsert_many(conn: &mut PgConnection, answers: &[Answer]) -> Result<()> {
    let candidate_ids: Vec<Uuid> = answers.iter().map(|one| one.candidate_id).collect();
    let question_ids: Vec<i32> = answers.iter().map(|one| one.question_id).collect();
    let answerers: Vec<&str> = answers.iter().map(|one| &*one.answerer).collect();
    let versions: Vec<&str> = answers.iter().map(|one| &*one.answerer_version).collect();
    let values: Vec<&str> = answers.iter().map(|one| &*one.value).collect();
    let probabilities: Vec<f32> = answers.iter().map(|one| one.probability).collect();
    sqlx::query!(
        "INSERT INTO answer (candidate_id, question_id, answerer, answerer_version, value, probability)
         SELECT candidate_id, question_id, answerer, answerer_version, value::answer_value, probability
         FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::real[])
              AS t (candidate_id, question_id, answerer, answerer_version, value, probability)
         ON CONFLICT ON CONSTRAINT answer_pkey
         DO UPDATE SET value = excluded.value, probability = excluded.probability",
        &candidate_ids,
        &question_ids,
        &answerers as &[&str],
        &versions as &[&str],
        &values as &[&str],
        &probabilities,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Of these candidates, by candidate, answerer and question.
pub async fn of_candidates(conn: &mut PgConnection, candidate_ids: &[Uuid]) -> Result<Vec<Answer>> {
    Ok(sqlx::query_as!(
        Answer,
        r#"SELECT candidate_id, question_id, answerer, answerer_version, value::text AS "value!", probability
           FROM answer WHERE candidate_id = ANY ($1)
           ORDER BY candidate_id, answerer, answerer_version, question_id"#,
        candidate_ids,
    )
    .fetch_all(conn)
    .await?)
}
